/** What a host that is to run the containers tells of itself; see `judge-container.ts` for what that means. */

/** What a program said. */
export type ProgramAnswer =
  | {
      readonly kind: "ended";
      readonly exitCode: number;
      readonly stdout: string;
      readonly stderr: string;
    }
  /** There is no such program. */
  | { readonly kind: "missing" }
  /** It did not end in time. */
  | { readonly kind: "silent"; readonly limitMs: number };

/** How the folder with models is. */
export type ModelsFolder =
  | { readonly kind: "absent" }
  | { readonly kind: "no_folder" }
  /** `isOpen`: an account that is neither its owner nor of its group may list it. */
  | { readonly kind: "folder"; readonly isOpen: boolean; readonly entries: number | null };

/** How a port of this host is. */
export type PortFact =
  | { readonly port: number; readonly kind: "free" }
  | { readonly port: number; readonly kind: "taken"; readonly holder: string }
  | { readonly port: number; readonly kind: "refused"; readonly reason: string };

/** Everything that is looked at. */
export interface ContainerFacts {
  /** `docker version --format '{{json .}}'` */
  readonly version: ProgramAnswer;
  /** `docker info --format '{{json .}}'` */
  readonly info: ProgramAnswer;
  /** `docker compose version --format json` */
  readonly compose: ProgramAnswer;
  /** `nvidia-smi --query-gpu=driver_version --format=csv,noheader` */
  readonly driver: ProgramAnswer;
  readonly modelsPath: string;
  readonly models: ModelsFolder;
  readonly ports: readonly PortFact[];
}
