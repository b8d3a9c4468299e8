"""`make bench-lines`: what an installer asks of a line: does it hang up when it must and only then, who calls, is that ringing?"""
