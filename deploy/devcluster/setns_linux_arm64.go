package main

// Not in package syscall, which is frozen.
const sysSetns = 268
