/** Options that are settings: their names are the settings' flags. */
export interface SettingOptions {
  readonly home?: string;
  readonly host?: string;
  readonly port?: string;
  readonly store?: string;
  readonly comfyui?: string;
  readonly logLevel?: string;
  readonly logFormat?: string;
  readonly manifest?: string;
  readonly machineDir?: string;
  readonly healthHost?: string;
  readonly healthPort?: string;
  readonly name?: string;
  readonly fleet?: string;
  readonly publicUrl?: string;
}

/** The options of `up`. */
export interface UpOptions extends SettingOptions {
  readonly simulator?: boolean;
  readonly demo?: boolean;
  readonly timeScale?: number;
}

/** The options of `agent`. */
export interface AgentCommandOptions extends SettingOptions {
  readonly server?: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly enrollToken?: string;
  /** Ends without ending the machine's instances: the next agent adopts them. */
  readonly keepInstances?: boolean;
}

/** The options of `simulator`. */
export interface SimulatorCommandOptions {
  readonly host?: string;
  readonly port?: number;
  readonly preset?: string;
  readonly timeScale?: number;
  readonly seed?: number;
  readonly dataDir?: string;
  readonly restartDelayMs?: number;
  readonly fault?: readonly string[];
  readonly verbose?: boolean;
}
