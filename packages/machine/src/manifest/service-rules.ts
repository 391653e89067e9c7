/** Rules for services beside ComfyUI, and for the health server. */
import { isLoopbackName } from "@holdfast/runtime/host";
import { duplicateNames } from "./content-rules.ts";
import { joinFindings, type Finding, type Findings } from "@holdfast/yaml-file";
import { parseInstanceName, whyImpossible } from "./instance-names.ts";
import type { Manifest } from "./model.ts";

/** Services that every machine has. */
const BUILT_IN: readonly string[] = ["comfyui", "installer"];

/** Names that are taken, dependencies that lead nowhere or in a circle, an open health server. */
export function serviceRules(manifest: Manifest): Findings {
  return joinFindings([
    nameRules(manifest),
    dependencyRules(manifest),
    { problems: circles(manifest), warnings: [] },
    healthRules(manifest),
    downloadRules(manifest),
  ]);
}

function nameRules({ services }: Manifest): Findings {
  const problems = duplicateNames("services", services, "service");
  for (const [index, service] of services.entries()) {
    const name = service.name.toLowerCase();
    if (BUILT_IN.includes(name) || parseInstanceName(name) !== undefined) {
      const message = `${service.name} is the name of a service of Holdfast's own: choose another`;
      problems.push({ path: ["services", index, "name"], message });
    }
    if (service.process === undefined && service.check === undefined) {
      const message = `${service.name} has neither \`process\` nor \`check\`: nothing could be said of it`;
      problems.push({ path: ["services", index], message });
    }
  }
  return { problems, warnings: [] };
}

function dependencyRules({ services, instances }: Manifest): Findings {
  const problems: Finding[] = [];
  const warnings: Finding[] = [];
  const byName = new Map(services.map((service) => [service.name, service]));
  for (const [index, service] of services.entries()) {
    for (const [at, wanted] of service.dependsOn.entries()) {
      const path = ["services", index, "dependsOn", at];
      const other = byName.get(wanted);
      if (other !== undefined) {
        if (service.enabled && !other.enabled) {
          const message = `${service.name} needs ${wanted}, which is not enabled: it will wait for ever`;
          warnings.push({ path, message });
        }
        continue;
      }
      if (BUILT_IN.includes(wanted)) continue;
      const why =
        parseInstanceName(wanted) === undefined
          ? `known are ${[...BUILT_IN, ...byName.keys()].join(", ")} and instances (comfyui-gpu0)`
          : whyImpossible(wanted, instances);
      if (why === undefined) continue;
      problems.push({ path, message: `there is no service ${wanted}: ${why}` });
    }
  }
  return { problems, warnings };
}

/** Each circle once, at the service of it that is listed first. */
function circles({ services }: Manifest): readonly Finding[] {
  const position = new Map(services.map(({ name }, index) => [name, index]));
  const finished = new Set<string>();
  const problems: Finding[] = [];
  const follow = (name: string, above: readonly string[]): void => {
    const start = above.indexOf(name);
    if (start >= 0) {
      const circle = [...above.slice(start), name];
      const path = ["services", position.get(name) ?? 0, "dependsOn"];
      const message = `these services wait for each other: ${circle.join(" needs ")}: remove one`;
      problems.push({ path, message });
      return;
    }
    const index = position.get(name);
    if (index === undefined || finished.has(name)) return;
    for (const next of services[index]?.dependsOn ?? []) follow(next, [...above, name]);
    finished.add(name);
  };
  for (const { name } of services) follow(name, []);
  return problems;
}

function healthRules({ health }: Manifest): Findings {
  if (isLoopbackName(health.host) || health.tokenFile !== undefined) {
    return { problems: [], warnings: [] };
  }
  const message =
    `${health.host} can be reached from other machines: ` +
    "set `health.tokenFile` to a file with a token, or listen on 127.0.0.1";
  return { problems: [{ path: ["health", "host"], message }], warnings: [] };
}

function downloadRules({ downloads }: Manifest): Findings {
  const seen = new Set<string>();
  const problems = downloads.auth.flatMap(({ host }, index): Finding[] => {
    const path = ["downloads", "auth", index, "host"];
    const key = host.toLowerCase();
    if (!/^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::\d{1,5})?$/.test(host)) {
      const message = `expected a host name alone, such as huggingface.co, found ${JSON.stringify(host)}`;
      return [{ path, message }];
    }
    if (seen.has(key)) return [{ path, message: `${host} has a token already: remove one` }];
    seen.add(key);
    return [];
  });
  return { problems, warnings: [] };
}
