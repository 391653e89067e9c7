export type { MachineProvider } from "./port.ts";
