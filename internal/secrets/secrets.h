// The arguments in which a token was overwritten, as they were; NULL for all others.
// NULL itself if there was no memory: then nothing was overwritten.
extern char **boxer_arguments;

// BOXER_JOIN=URL likewise, or NULL.
extern char *boxer_join;
