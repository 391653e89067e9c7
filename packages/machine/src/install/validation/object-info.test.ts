import { expect, test } from "vitest";
import { brokenPromises, parseObjectInfo } from "./object-info.ts";

test("classes are told by the pack that brought them", () => {
  const body = JSON.stringify({
    SaveImage: { python_module: "nodes" },
    Brush: { python_module: "custom_nodes.brush-pack" },
    Broom: { python_module: "custom_nodes.brush-pack" },
    Odd: null,
  });
  const classes = parseObjectInfo(body);
  expect(classes?.all).toEqual(["Broom", "Brush", "Odd", "SaveImage"]);
  expect(classes?.byPack).toEqual(new Map([["brush-pack", ["Brush", "Broom"]]]));
  expect(
    brokenPromises(
      [
        { pack: "brush-pack", classes: ["Brush"] },
        { pack: "x", classes: ["SaveImage", "Nope"] },
      ],
      classes ?? { all: [], byPack: new Map() },
    ),
  ).toEqual([{ pack: "x", classes: ["Nope"] }]);
});

test.each(["", "<html>", "[]", "null", "3"])("%s is no answer", (body) => {
  expect(parseObjectInfo(body)).toBeUndefined();
});
