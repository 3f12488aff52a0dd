"""The three answers (choose, judge, write) and the tasks made of them: a task is a torch module with its examples, parameters, loss and answer."""
