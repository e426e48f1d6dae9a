// The line to Python: a comm of our own.
//
// JupyterLab gives it a subshell, a thread of the kernel that listens while a cell is running; what is
// sent before that thread is there would wait for the end of the cell. Python never sends on it: then it
// would lose its subshell.
export async function openLine(kernel, target, widget) {
  const comm = kernel.createComm(target);
  if (kernel.supportsSubshells && comm.subshellStarted) {
    await Promise.race([comm.subshellStarted, new Promise((late) => setTimeout(late, 1500))]);
  }
  comm.open({ widget });
  return comm;
}

// Calls `restarted` when the kernel is restarted or gone; returns a function that ends this.
export function whenRestarted(kernel, restarted) {
  const listen = (_, status) => {
    if (["restarting", "autorestarting", "terminating", "dead"].includes(status)) restarted();
  };
  kernel?.statusChanged?.connect(listen);
  return () => kernel?.statusChanged?.disconnect(listen);
}
