/** Processes, locks, ports and connections of the host: what programs here need of their operating system. */
export { exchangeUntil, readText, type ExchangeTrouble } from "./exchange.ts";
export { createExclusively } from "./exclusive-file.ts";
export { tryFileLock, withFileLock, type FileLockTry } from "./file-lock.ts";
export { isLoopbackName, isLoopbackRequest } from "./loopback.ts";
export { makeFolder } from "./make-folder.ts";
export { findPortHolder, holderText, type PortHolder } from "./port-holder.ts";
export { tryPort, type PortTrial } from "./ports.ts";
export {
  isProcessAlive,
  isSameProcess,
  parseLinuxStat,
  processCommand,
  processFolder,
  processStartTime,
  signalProcess,
  waitForExit,
} from "./processes.ts";
