/** Where MLflow is and how it is spoken to, from the settings that MLflow's own clients use. */

/** A tracking server. Made by {@link parseTrackingTarget} alone. */
export interface TrackingTarget {
  /** Origin and path prefix, without a slash at the end and without user and password. */
  readonly baseUrl: string;
  /** The `Authorization` header; null: none. Never to be shown. */
  readonly authorization: string | null;
}

/** MLflow's own settings; the names of its environment variables are in brackets. */
export interface TrackingSettings {
  /** `MLFLOW_TRACKING_URI`: http or https, perhaps with a path prefix, perhaps `user:password@`. */
  readonly trackingUri: string;
  /** `MLFLOW_TRACKING_USERNAME` */
  readonly username?: string | undefined;
  /** `MLFLOW_TRACKING_PASSWORD` */
  readonly password?: string | undefined;
  /** `MLFLOW_TRACKING_TOKEN`: used where there is no user and password, as MLflow's clients do. */
  readonly token?: string | undefined;
}

/** A target, or what is wrong with the settings. */
export type ParsedTarget =
  | { readonly kind: "ok"; readonly target: TrackingTarget }
  | { readonly kind: "invalid"; readonly message: string };

/** Reads the settings. The message of a refusal holds neither password nor token. */
export function parseTrackingTarget(settings: TrackingSettings): ParsedTarget {
  const expected = "MLFLOW_TRACKING_URI: expected the http or https address of a tracking server";
  let url: URL;
  try {
    url = new URL(settings.trackingUri.trim());
  } catch {
    return { kind: "invalid", message: `${expected}, such as http://127.0.0.1:5000` };
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    return {
      kind: "invalid",
      message: `${expected}, found ${url.protocol} (folders and databases are reached by "mlflow server" alone)`,
    };
  }
  if (url.search !== "" || url.hash !== "") {
    return { kind: "invalid", message: `${expected} without ? and #` };
  }
  const username = text(settings.username) ?? text(readable(url.username));
  const password = text(settings.password) ?? text(readable(url.password));
  const token = text(settings.token);
  const baseUrl = url.origin + url.pathname.replace(/\/+$/, "");
  if (username !== null && password !== null) {
    const pair = Buffer.from(`${username}:${password}`, "utf8").toString("base64");
    return { kind: "ok", target: { baseUrl, authorization: `Basic ${pair}` } };
  }
  if (token !== null) {
    if (!/^[\x21-\x7e]+$/.test(token)) {
      return {
        kind: "invalid",
        message: "MLFLOW_TRACKING_TOKEN: expected printable ASCII without spaces",
      };
    }
    return { kind: "ok", target: { baseUrl, authorization: `Bearer ${token}` } };
  }
  if (username !== null || password !== null) {
    const missing = username === null ? "MLFLOW_TRACKING_USERNAME" : "MLFLOW_TRACKING_PASSWORD";
    return { kind: "invalid", message: `${missing} is missing: the other one of the two is set` };
  }
  return { kind: "ok", target: { baseUrl, authorization: null } };
}

function text(value: string | undefined): string | null {
  return value === undefined || value === "" ? null : value;
}

function readable(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
