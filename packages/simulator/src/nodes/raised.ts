/** An exception that a node "raised": the part of Python that reaches a client. */
export class RaisedError extends Error {
  /** `torch.OutOfMemoryError`, `RuntimeError`, `OSError`, … */
  readonly exceptionType: string;
  /** Source lines below ComfyUI's own frames, as `traceback.format_tb` writes them. */
  readonly frames: readonly string[];

  constructor(exceptionType: string, message: string, frames: readonly string[] = []) {
    super(message);
    this.exceptionType = exceptionType;
    this.frames = frames;
  }
}

/** ComfyUI's InterruptProcessingException. */
export class InterruptedError extends Error {}

/** Ends the thread that runs prompts, and nothing else (F26): whatever Python raised outside a node. */
export class WorkerEndedError extends Error {}

/** A `SystemExit`, which a node raised. */
export class SystemExitError extends WorkerEndedError {}

/** The process died, or was stopped: whatever ran in it must not touch anything any more. */
export class ProcessGoneError extends Error {}

/** Torch's out-of-memory error, as a node raises it. */
export function outOfMemory(message: string): RaisedError {
  return new RaisedError("torch.OutOfMemoryError", message, [
    '  File "comfy/ops.py", line 106, in forward\n    return super().forward(*args, **kwargs)\n           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n',
  ]);
}

/** `OSError: [Errno 28]`, as a full disk raises it. */
export function diskFull(): RaisedError {
  return new RaisedError("OSError", "[Errno 28] No space left on device", [
    '  File "PIL/Image.py", line 2605, in save\n    fp = builtins.open(filename, "w+b")\n',
  ]);
}

/** `OSError: [Errno 36]`, as a name of more than 255 bytes raises it. */
export function nameTooLong(name: string): RaisedError {
  return new RaisedError("OSError", `[Errno 36] File name too long: '${name}'`, [
    '  File "PIL/Image.py", line 2605, in save\n    fp = builtins.open(filename, "w+b")\n',
  ]);
}
