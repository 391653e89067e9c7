/** Options of every `holdfast machine` command. */
export interface MachineCommandOptions {
  readonly home?: string;
  readonly manifest?: string;
  readonly machineDir?: string;
  readonly logLevel?: string;
  readonly logFormat?: string;
  readonly json?: boolean;
  /** Of `init`: a ComfyUI that is there already, and its Python. */
  readonly adopt?: string;
  readonly python?: string;
  /** Of `init`: replaces a manifest that is there. */
  readonly force?: boolean;
  /** Of `plan`, `install`: refs are asked for anew. */
  readonly update?: boolean;
  /** Of `plan`, `install`: looks thoroughly at what seems done. */
  readonly verify?: boolean;
  /** Of `plan`, `install`, `update`: goes by the manifest though it is held back since a rollback. */
  readonly endHold?: boolean;
  /** Of `clean`: lists what would go, and changes nothing. */
  readonly dryRun?: boolean;
  /** How long another installer is waited for, in ms. */
  readonly wait?: number;
}
