/** In which order services that need each other are started and stopped. */

/** What of a service decides its place. */
export interface Dependent {
  readonly name: string;
  readonly dependsOn: readonly string[];
}

/**
 * Groups of services: each needs only services of groups before its own, so that those of a group may
 * be handled at the same time. Names that are not among the given ones are passed over. Services that
 * need each other in a circle, which a manifest may not have, come last, in one group.
 */
export function dependencyGroups<T extends Dependent>(services: readonly T[]): readonly T[][] {
  const groups: T[][] = [];
  let left = [...services];
  while (left.length > 0) {
    const names = new Set(left.map(({ name }) => name));
    const free = left.filter(({ dependsOn }) => !dependsOn.some((name) => names.has(name)));
    const group = free.length === 0 ? left : free;
    groups.push(group);
    left = left.filter((service) => !group.includes(service));
  }
  return groups;
}
