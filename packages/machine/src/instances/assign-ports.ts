/** Ports of instances. Pure. */
import type { Finding, YamlPath } from "@holdfast/yaml-file";
import type { Slot } from "./instance-plan.ts";

const PORT_MAX = 65_535;
const PATH: YamlPath = ["instances", "basePort"];

/** Ports by the instance's name; one that cannot have its port is not in it, and a problem says why. */
export interface PortAssignment {
  readonly byName: ReadonlyMap<string, number>;
  readonly problems: readonly Finding[];
  readonly warnings: readonly Finding[];
}

/**
 * A whole GPU n has basePort + n, and so has the first slice of a card; nothing else ever takes a
 * port of a GPU's. After the highest index come the instances without a GPU, and after them the
 * further slices: these move over a port that is taken, the others cannot.
 */
export function assignPorts(
  slots: readonly Slot[],
  options: {
    readonly basePort: number;
    readonly highestIndex: number;
    readonly reserved: readonly number[];
  },
): PortAssignment {
  const { basePort, highestIndex, reserved } = options;
  const byName = new Map<string, number>();
  const problems: Finding[] = [];
  const warnings: Finding[] = [];
  const seen = new Set<number>();
  const further: Slot[] = [];
  for (const slot of slots) {
    if (slot.gpu === null || seen.has(slot.gpu.index)) {
      further.push(slot);
      continue;
    }
    seen.add(slot.gpu.index);
    const port = basePort + slot.gpu.index;
    const message = whyNot(slot.name, port, reserved);
    if (message === undefined) byName.set(slot.name, port);
    else problems.push({ path: PATH, message });
  }
  let next = basePort + highestIndex + 1;
  for (const slot of [...further.filter(isCpu), ...further.filter((one) => !isCpu(one))]) {
    const wanted = next;
    while (reserved.includes(next)) next += 1;
    if (next !== wanted) {
      const message = `port ${wanted} is taken by the machine itself: ${slot.name} listens on ${next}`;
      warnings.push({ path: PATH, message });
    }
    const message = whyNot(slot.name, next, []);
    if (message === undefined) byName.set(slot.name, next);
    else problems.push({ path: PATH, message });
    next += 1;
  }
  return { byName, problems, warnings };
}

function whyNot(name: string, port: number, reserved: readonly number[]): string | undefined {
  if (port > PORT_MAX)
    return `${name} would listen on ${port}, and ports end at ${PORT_MAX}: lower it`;
  return reserved.includes(port)
    ? `${name} has to listen on ${port}, which is taken by the machine itself (its health server): change one of them`
    : undefined;
}

function isCpu({ gpu }: Slot): boolean {
  return gpu === null;
}
