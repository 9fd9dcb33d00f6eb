/* Between the two files of the emulation. */
#ifndef EQ_TESTS_EMU_INSIDE_H
#define EQ_TESTS_EMU_INSIDE_H
bool eq_emu_stopped(void); /* by a fault: every later call fails, as after a device error */
#endif
