/* Loaded by GNU make for `make run` only: an interrupted make always ends with status 130, however cleanly the appliance
 * ended. With this, the first SIGINT is left to the appliance (tools/foreground.py passes it on, also when only make got
 * it: it sees that make ignores the signal from then on), and make ends with the appliance's own status. */
#include <signal.h>

int plugin_is_GPL_compatible;
int make_interrupt_gmk_setup(void);

static void leave_it_to_the_appliance(int number) { signal(number, SIG_IGN); }

int make_interrupt_gmk_setup(void) {
    struct sigaction action = {0};
    action.sa_handler = leave_it_to_the_appliance;
    action.sa_flags = SA_RESTART;
    return sigaction(SIGINT, &action, 0) == 0;
}
