/** Where MLflow keeps the artifacts of a run, and whether they can be sent through the server. */

/** `folder`: below the server's artifact store; `uri`: elsewhere, where only MLflow's own clients reach. */
export type ArtifactRoot =
  | { readonly kind: "served"; readonly folder: string }
  | { readonly kind: "elsewhere"; readonly uri: string };

const URI_SHOWN_MAX = 300;
const SERVED = /^mlflow-artifacts:(?:\/\/[^/]*)?\/(.+?)\/*$/;

/** Reads a run's `artifact_uri`: `mlflow-artifacts:/1/RUN/artifacts`, or `s3://…`, a folder, nothing. */
export function readArtifactRoot(uri: string | undefined): ArtifactRoot {
  const folder = SERVED.exec(uri ?? "")?.[1];
  const isPlain = folder?.split("/").every((part) => /^[\w.-]+$/.test(part) && !/^\.+$/.test(part));
  if (folder === undefined || isPlain !== true) {
    return { kind: "elsewhere", uri: (uri ?? "").slice(0, URI_SHOWN_MAX) };
  }
  return { kind: "served", folder };
}
