/** What the records tell of where a run failed. */
export interface FailurePlace {
  readonly message: string;
  readonly nodeId?: string | undefined;
  readonly nodeType?: string | undefined;
}

/** `node 5 MaskToImage: cannot reshape …`; the message alone where no node is known. */
export function failureText({ message, nodeId, nodeType }: FailurePlace): string {
  const node = [nodeId, nodeType].filter((part) => part !== undefined && part !== "");
  return node.length === 0 ? message : `node ${node.join(" ")}: ${message}`;
}
