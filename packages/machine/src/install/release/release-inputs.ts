import { createHash } from "node:crypto";
import type { Manifest, NodePack } from "../../manifest/model.ts";
import { withoutUserinfo } from "../redact.ts";

/** Changes when the same inputs would make another release than before. */
const FORMAT = 1;

/** A pack of custom nodes, with the commit that its ref came to. */
export interface ResolvedPack {
  readonly pack: NodePack;
  /** Null: an optional one whose ref could not be resolved, and why. */
  readonly commit: string | null;
  readonly missing: string | null;
}

/** A shared repository, with the commit that its ref came to. */
export interface ResolvedRepository {
  readonly name: string;
  readonly repo: string;
  readonly ref: string;
  readonly commit: string;
  readonly linkTo: string | null;
}

/** ComfyUI, as it will be in a release. */
export type ResolvedComfyui =
  | {
      readonly kind: "clone";
      readonly repo: string;
      readonly ref: string;
      readonly commit: string;
    }
  | { readonly kind: "adopted"; readonly folder: string; readonly python: string | null };

/** All that decides what a release is. */
export interface ReleaseInputs {
  readonly comfyui: ResolvedComfyui;
  readonly nodes: readonly ResolvedPack[];
  readonly python: Manifest["python"];
  readonly torch: Manifest["torch"];
  /** What `auto` came to. */
  readonly torchBackend: string;
}

/**
 * Id of the release that these inputs make: the same inputs, the same id. Requirement files need not
 * be named: the commits decide them. Passwords in URLs do not count, so they may be changed.
 */
export function releaseId(inputs: ReleaseInputs): string {
  const { comfyui, nodes, python, torch, torchBackend } = inputs;
  if (comfyui.kind === "adopted") {
    const classes = nodes.map(({ pack }) => [pack.name, pack.classes, pack.optional]);
    return `adopted-${digestOf([FORMAT, comfyui.folder, comfyui.python, classes])}`;
  }
  const digest = digestOf([
    FORMAT,
    [process.platform, process.arch],
    [withoutUserinfo(comfyui.repo), comfyui.commit],
    nodes
      .filter(({ commit }) => commit !== null)
      .map(({ pack, commit }) => [
        pack.name,
        withoutUserinfo(pack.repo),
        commit,
        pack.requirements ?? null,
        pack.installScript,
        pack.classes,
        pack.optional,
      ]),
    {
      ...python,
      indexUrl: python.indexUrl === undefined ? null : withoutUserinfo(python.indexUrl),
      extraIndexUrls: python.extraIndexUrls.map(withoutUserinfo),
    },
    torchBackend,
    torch.indexUrl === undefined ? null : withoutUserinfo(torch.indexUrl),
    torchBackend === "none" ? [] : torch.packages,
  ]);
  return `${comfyui.commit.slice(0, 8)}-${digest}`;
}

function digestOf(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 12);
}
