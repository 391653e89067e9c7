import * as fc from "fast-check";
import type { Graph, GraphNode } from "../src/protocol/graph.ts";

const inputName = fc.constantFrom(
  "seed",
  "text",
  "width",
  "samples",
  "model",
  "filename_prefix",
  "x",
);

const literal: fc.Arbitrary<unknown> = fc.oneof(
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value)),
  fc.string(),
  fc.boolean(),
  fc.constant(null),
  fc.array(fc.integer(), { minLength: 3, maxLength: 5 }),
  fc.dictionary(fc.constantFrom("a", "b", "__value__"), fc.integer()),
);

/** Acyclic graphs: a node only links to nodes before it, and the order of ids is shuffled. */
export const arbitraryGraph: fc.Arbitrary<Graph> = fc
  .integer({ min: 1, max: 12 })
  .chain((count) =>
    fc.tuple(
      fc.shuffledSubarray(
        Array.from({ length: count }, (_, i) => (i % 3 === 0 ? String(i) : `n${i}:${i}`)),
        { minLength: count },
      ),
      fc.array(
        fc.record({
          class_type: fc.constantFrom("A", "B", "SaveImage"),
          literals: fc.dictionary(inputName, literal),
          links: fc.dictionary(inputName, fc.tuple(fc.nat(), fc.nat(3))),
          extra: fc.option(fc.string(), { nil: undefined }),
        }),
        { minLength: count, maxLength: count },
      ),
    ),
  )
  .map(([ids, nodes]) => {
    const graph: [string, GraphNode][] = nodes.map((node, index) => {
      const inputs: Record<string, unknown> = { ...node.literals };
      for (const [name, [source, slot]] of Object.entries(node.links)) {
        if (index > 0) inputs[name] = [ids[source % index], slot];
      }
      return [
        ids[index] ?? "",
        {
          class_type: node.class_type,
          inputs,
          ...(node.extra !== undefined && { _meta: { title: node.extra }, note: node.extra }),
        },
      ];
    });
    return Object.fromEntries([...graph].reverse());
  });
