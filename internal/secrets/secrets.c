// A join URL admits its holder, and /proc/PID/cmdline shows a process's arguments to
// every user of the host. So the tokens in them are overwritten before Go's runtime
// starts, which takes milliseconds. Go gets the originals from boxer_arguments.

#include "secrets.h"

#include <stdlib.h>
#include <string.h>

char **boxer_arguments;
char *boxer_join;

// Overwrites the tokens of all join URLs in s. A token ends at '@', or where the string
// ends. Returns a copy of the original, or NULL if s has no token or there is no memory
// for the copy.
static char *hide(char *s)
{
	static const char scheme[] = "boxer://";
	char *token = strstr(s, scheme), *copy;

	if (token == NULL)
		return NULL;
	copy = strdup(s);
	if (copy == NULL)
		return NULL;
	while (token != NULL) {
		size_t length;
		token += strlen(scheme);
		length = strcspn(token, "@");
		memset(token, '*', length);
		token = strstr(token + length, scheme);
	}
	return copy;
}

__attribute__((constructor)) static void hide_tokens(int argc, char **argv, char **envp)
{
	boxer_arguments = calloc((size_t)argc + 1, sizeof *boxer_arguments);
	for (int i = 0; boxer_arguments != NULL && i < argc; i++)
		boxer_arguments[i] = hide(argv[i]);
	for (; *envp != NULL; envp++)
		if (strncmp(*envp, "BOXER_JOIN=", strlen("BOXER_JOIN=")) == 0)
			boxer_join = hide(*envp);
}
