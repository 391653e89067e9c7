/** A server that tests can run against: what Go builds, and of which version. */
export interface Part {
  readonly module: string;
  readonly version: string;
  /** Package of the program, where it is built in a module of our own. */
  readonly program?: string;
}
/** Names of the parts. */
export type PartName = S3Part | KubernetesPart;
/** Those that speak S3. */
export type S3Part = "minio" | "versitygw";
/** Those of a Kubernetes without nodes. */
export type KubernetesPart =
  "etcd" | "kube-apiserver" | "kube-scheduler" | "kube-controller-manager";
export const PARTS: Readonly<Record<PartName, Part>>;
export function howToGet(name: PartName): string;
export function findPart(
  name: PartName,
  environment?: Readonly<Record<string, string | undefined>>,
): string | undefined;
