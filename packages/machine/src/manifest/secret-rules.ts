/** Secrets do not belong in a manifest: it is read, compared, copied and shown. */
import type { Finding, Findings, YamlPath } from "@holdfast/yaml-file";
import type { Manifest } from "./model.ts";
import { isSecretName } from "@holdfast/yaml-file";

/** Beginnings of tokens that are given as a user name (GitHub, GitLab, Hugging Face). */
const TOKEN_USER = /^(?:gh[a-z]_|github_pat_|glpat-|hf_)|^[A-Za-z0-9_-]{30,}$/;
const SECRET_QUERY = /[?&](?:access_?token|token|api_?key|auth|password|secret)=[^&\s]/i;

type Written = readonly [path: YamlPath, text: string];

/** URLs that carry a password or token, and environments that look as if they did. */
export function secretRules(manifest: Manifest): Findings {
  const problems = writtenUrls(manifest).flatMap(([path, text]): Finding[] => {
    const message = secretInUrl(text);
    return message === undefined ? [] : [{ path, message }];
  });
  return { problems, warnings: environmentWarnings(manifest) };
}

/** What is secret in a text with URLs, without repeating it; undefined when nothing is. */
export function secretInUrl(text: string): string | undefined {
  for (const [, user] of text.matchAll(/:\/\/([^/?#\s@]*(?:@[^/?#\s@]+)*)@/g)) {
    const [name = "", ...rest] = (user ?? "").split(":");
    const isSecret = rest.join(":") !== "" || TOKEN_USER.test(name);
    if (isSecret) {
      return (
        "the URL holds a password or token: remove it. Models take tokens from `downloads.auth`, " +
        "git from its credential helper or from ssh keys, package indexes from a netrc file"
      );
    }
  }
  return SECRET_QUERY.test(text)
    ? "the URL's query holds a token: remove it, and name the file with the token in `downloads.auth`"
    : undefined;
}

function one(path: YamlPath, text: string | undefined): readonly Written[] {
  return text === undefined ? [] : [[path, text]];
}

function list(path: YamlPath, texts: readonly string[]): readonly Written[] {
  return texts.map((text, index) => [[...path, index], text]);
}

function writtenUrls(manifest: Manifest): readonly Written[] {
  const { comfyui, python, torch, nodes, models, repositories, services } = manifest;
  return [
    ...(comfyui !== undefined && "repo" in comfyui ? one(["comfyui", "repo"], comfyui.repo) : []),
    ...one(["python", "indexUrl"], python.indexUrl),
    ...list(["python", "extraIndexUrls"], python.extraIndexUrls),
    ...list(["python", "findLinks"], python.findLinks),
    ...list(["python", "constraints"], python.constraints),
    ...list(["python", "packages"], python.packages),
    ...one(["torch", "indexUrl"], torch.indexUrl),
    ...list(["torch", "packages"], torch.packages),
    ...nodes.flatMap(({ repo }, index) => one(["nodes", index, "repo"], repo)),
    ...models.flatMap(({ url }, index) => one(["models", index, "url"], url)),
    ...repositories.flatMap(({ repo }, index) => one(["repositories", index, "repo"], repo)),
    ...services.flatMap(({ check }, index) => one(["services", index, "check", "url"], check?.url)),
  ];
}

function environmentWarnings({ instances, services }: Manifest): readonly Finding[] {
  const environments: readonly (readonly [YamlPath, object | undefined])[] = [
    [["instances", "env"], instances.env],
    ...Object.entries(instances.overrides).map(
      ([name, { env }]) => [["instances", "overrides", name, "env"], env] as const,
    ),
    ...services.map(
      ({ process }, index) => [["services", index, "process", "env"], process?.env] as const,
    ),
  ];
  return environments.flatMap(([path, env]) =>
    Object.keys(env ?? {})
      // `HF_TOKEN_FILE` and the like name a file, as they should.
      .filter((name) => isSecretName(name) && !/_(?:FILE|PATH)$/i.test(name))
      .map((name) => {
        const message = `${name} looks like a secret, and stands here for all to read: if the program can, let it read a file`;
        return { path: [...path, name], message };
      }),
  );
}
