/** Whose machines a provider looks after: those of one pool of one fleet, and no others. */
import { invariant } from "@holdfast/runtime";

/** What machines are labelled with. */
export interface FleetLabel {
  /** Of the control plane: two of them under one account do not touch each other's machines. */
  readonly fleet: string;
  readonly pool: string;
}

/** Environment variables that carry the label into a machine, and out of it where it is listed. */
export const LABEL_ENV = { fleet: "HOLDFAST_FLEET", pool: "HOLDFAST_POOL" } as const;

/** Longest name of a fleet, a pool or a machine. */
export const NAME_MAX = 40;

/** Names of fleets, pools and machines: what may stand in a host name, a folder and a label. */
const NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/;

/** Whether a text can be the name of a fleet, a pool or a machine. */
export function isName(text: string): boolean {
  return text.length <= NAME_MAX && NAME.test(text);
}

/** The label itself; throws for one that cannot be: whoever reads the settings of pools says so first. */
export function checkedLabel(label: FleetLabel): FleetLabel {
  for (const name of [label.fleet, label.pool]) {
    invariant(isName(name), `${JSON.stringify(name)} is no name of a fleet or a pool`);
  }
  return label;
}
