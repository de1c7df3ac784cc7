#include <stdint.h>

// What this process was started with; bit n-1 is signal n.
extern uint64_t boxer_original_mask;
extern uint64_t boxer_ignored;

// One signal that was caught, as it is written to the pipe.
struct boxer_signal {
	int32_t sig;
	int32_t code; // si_code of sigaction(2)
	int32_t pid;  // of the sender
};

// Catches the signals that a supervisor forwards, also those that this process was
// started with ignored, as the program may handle them all the same, and writes each to fd, a
// pipe that does not block. With fd -1 they do nothing.
void boxer_catch(int fd);

// boxer_note writes a signal of this process's own to the pipe, in its place among those that are caught.
void boxer_note(int sig);
