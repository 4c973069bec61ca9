// Package journal keeps what happens in a build: every state change, log line and artifact, in one total order,
// numbered from 1 without gaps, in a directory that any process can read while the build runs and afterwards.
//
// # What is on disk
//
//	journal.jsonl            one JSON object a line: a [Header], then an [Event] each, or a record of log lines
//	plan.json                the plan, without its secrets (written by the engine)
//	steps/<id>/output.log    the text of a step's log, for people too
//	artifacts/<id>/…         what the step's artifact globs found
//	.writer                  locked by the process that writes
//	.synced                  how many bytes of the journal are on the disk for certain, with all that they refer to
//
// The header says which [Version] of this format the directory has. A version that this package does not know is refused with
// [ErrNewer], by readers and by writers, before anything is touched.
//
// A line of output.log is the time (RFC 3339, UTC, always nine digits of fraction), a space, and the line as the
// container wrote it. Text is stored there and nowhere else. The journal has a record for each run of lines that were written
// together, which says where they stand and what numbers they have:
//
//	{"seq":12,"kind":"log","step":"unit","lines":3,"offset":0,"bytes":171,"crc":2868013462,"runs":[{"lines":3,"stream":"stdout"}]}
//
// Each such line is one entry, also the parts of a very long line: a run with "partial" goes on in the next entry of
// the same container and stream. "crc" is the CRC-32C of the bytes. "attempt" is there for the second attempt and later ones, and "cursor" is a place in the runtime's
// own log that stands behind the record's last line, in some records. The order of entries within a step is exact; that among steps is as fine as
// the batches, some milliseconds.
//
// # Writing
//
// A [Writer] batches: a [Log] gathers lines in memory (64 KiB at most) and writes them in two system calls, when
// enough has gathered or after some milliseconds. Nothing is allocated for a line. Text is written before the record
// that refers to it, so what a reader finds is always whole, also after a crash of the process; a last line of the journal without
// its newline is not there yet. Once a second, and when a build ends, the files are synced to the disk. One process writes at a time.
//
// When the machine goes down, what was written since the last sync may be there in part. [Reopen] finds the longest beginning that is
// whole, by the checksums, cuts off the rest, and goes on behind it. What is not whole although it had been synced, by .synced, is damage of another kind: [ErrDamaged].
//
// When the disk is full, or anything else keeps an entry from being stored, the writer has failed: [Writer.Failed] says so,
// later lines are dropped, and what was stored stays readable. A small reserve that is laid by at the start makes room for the last
// entries, so that the journal itself can say why it ends. A limit of a step's or a build's logs ([Options]) is no failure: lines beyond it
// are not kept, and the log itself says so, with an entry of stream [StreamWharf].
//
// # Reading
//
// A [Reader] reads the files, also while they grow, from any number on. Observers of a running build are such readers: one that is
// slow reads later, and costs the build neither time nor memory.
package journal
