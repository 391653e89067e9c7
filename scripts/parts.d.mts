/** A server that tests can run against: what `go install` builds, and of which version. */
export interface Part {
  readonly module: string;
  readonly version: string;
}
/** Names of the parts. */
export type PartName = "minio" | "versitygw";
export const PARTS: Readonly<Record<PartName, Part>>;
export function howToGet(name: PartName): string;
export function findPart(
  name: PartName,
  environment?: Readonly<Record<string, string | undefined>>,
): string | undefined;
