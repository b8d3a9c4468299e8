"""`make far-acd`: the queue of the appliance and Asterisk's app_queue live the same calls; waits, logs and known complaints of both."""
