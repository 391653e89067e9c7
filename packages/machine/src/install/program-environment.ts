/** An environment as `process.env` has it. */
export type HostEnvironment = Readonly<Record<string, string | undefined>>;

/**
 * What a program of the installer gets of the environment: where programs and the user's own
 * settings are, how to reach the network, and uv's and ssh's settings. Nothing else is inherited,
 * so that a Holdfast key or a stray `PYTHONPATH` never reaches a script of somebody else's.
 */
const PASSED = new Set([
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "TMPDIR",
  "SSH_AUTH_SOCK",
  "GIT_SSH_COMMAND",
  "GIT_ASKPASS",
  "GIT_SSL_CAINFO",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "REQUESTS_CA_BUNDLE",
  "CURL_CA_BUNDLE",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "ALL_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "all_proxy",
  "no_proxy",
  "XDG_CONFIG_HOME",
  "NETRC",
  "LD_LIBRARY_PATH",
]);

/** Names the machine folder in the environment of every program that an installer started. */
export const INSTALLER_MARK = "HOLDFAST_INSTALLER_OF";

/** Pid of the process that started it: while that lives, a program of a plan is no leftover. */
export const INSTALLER_OWNER = "HOLDFAST_INSTALLER_BY";

/** What it was started for, a {@link RunKind}. */
export const INSTALLER_RUN = "HOLDFAST_INSTALLER_FOR";

/** An installation holds the install lock, so there is one at a time; a plan may run beside it. */
export type RunKind = "install" | "plan";

/** The environment of a program of the installer of the machine folder `root`, with additions. */
export function programEnvironment(
  host: HostEnvironment,
  root: string,
  additions: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const env: Record<string, string> = { LANG: "C.UTF-8", LC_ALL: "C.UTF-8" };
  for (const [name, value] of Object.entries(host)) {
    if (value !== undefined && (PASSED.has(name) || name.startsWith("UV_"))) env[name] = value;
  }
  // Texts of git are matched, so they have to be English; C.UTF-8 keeps file names whole.
  const marks = { [INSTALLER_MARK]: root, [INSTALLER_OWNER]: String(process.pid) };
  return { ...env, ...marks, ...additions };
}
