/** Longest line that is kept of a program's output or a message. */
export const LINE_MAX = 2_000;

const USERINFO = /([a-z][a-z0-9+.-]*:\/\/)[^/\s@]+@/gi;
const SECRET_PARAMETER =
  /([?&](?:access_token|api_key|apikey|auth|key|password|secret|sig|signature|token)=)[^&\s"']+/gi;
/** Shorter texts are no secrets, and replacing them would make every line unreadable. */
const SECRET_MIN = 6;

/** Takes secrets out of one line, and bounds it. */
export type Redact = (line: string) => string;

/** A URL without the user and password in it: what may be written down and compared. */
export function withoutUserinfo(url: string): string {
  return url.replace(USERINFO, "$1");
}

/**
 * Makes the filter that everything passes before it is logged: user names and passwords in URLs,
 * parameters that carry tokens, and the given texts become `***`. Lines are cut at {@link LINE_MAX}.
 */
export function createRedact(secrets: readonly string[] = []): Redact {
  // Longest first: a secret that is part of another must not leave the rest of it.
  const known = secrets
    .filter((secret) => secret.length >= SECRET_MIN)
    .toSorted((a, b) => b.length - a.length);
  return (line) => {
    let text = line.replace(USERINFO, "$1***@").replace(SECRET_PARAMETER, "$1***");
    for (const secret of known) text = text.replaceAll(secret, "***");
    return text.length <= LINE_MAX ? text : `${text.slice(0, LINE_MAX - 1)}…`;
  };
}
