/** What the process of a machine is given in its environment. */
import type { FleetLabel } from "../label.ts";
import { LABEL_ENV } from "../label.ts";

/** Names that this provider sets by itself, beside those of the label. */
export const LOCAL_ENV = {
  home: "HOLDFAST_HOME",
  /** How the process and all that it started are known again; see {@link markOf}. */
  mark: "HOLDFAST_LOCAL_MACHINE",
} as const;

/** What an environment is made of; later parts come before earlier ones. */
export interface EnvironmentParts {
  /** PATH, HOME and what else this host's programs need. */
  readonly base: Readonly<Record<string, string>>;
  readonly request: Readonly<Record<string, string>>;
  readonly label: FleetLabel;
  readonly folder: string;
  readonly mark: string;
}

/** The whole environment: nothing of the control plane's own is in it unless it was given as base. */
export function machineEnv(parts: EnvironmentParts): Record<string, string> {
  return {
    ...parts.base,
    ...parts.request,
    [LABEL_ENV.fleet]: parts.label.fleet,
    [LABEL_ENV.pool]: parts.label.pool,
    [LOCAL_ENV.home]: parts.folder,
    [LOCAL_ENV.mark]: parts.mark,
  };
}

/** Unlike any other on this host: a folder is made for one machine, and for the next not in the same ms. */
export function markOf(folder: string, createdAt: number): string {
  return `${folder}#${createdAt}`;
}
