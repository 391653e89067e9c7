/** Which instance an address means. Pure. */

/** An instance with where it is and where it is to be. */
export interface InstanceAddress {
  readonly name: string;
  readonly plannedUrl: string;
  /** Of its process, which may run where an earlier plan had it; null without one. */
  readonly processUrl: string | null;
}

/**
 * The instance that a name or an address means now; undefined for none. Whoever runs at an address has
 * it, whoever is to have it: after `basePort` moved, one instance's planned address is another's present
 * one, and a job names the address that it runs at. A plan counts for what has no process yet.
 */
export function instanceAt<One extends InstanceAddress>(
  all: readonly One[],
  nameOrUrl: string,
): One | undefined {
  return (
    all.find(({ name }) => name === nameOrUrl) ??
    all.find(({ processUrl }) => processUrl === nameOrUrl) ??
    all.find(({ processUrl, plannedUrl }) => processUrl === null && plannedUrl === nameOrUrl)
  );
}
