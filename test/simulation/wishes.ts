import type { UnitChange } from "../../src/cluster/unit-change.ts";
import type { Command } from "./plan.ts";
import { unitContent, WORKLOAD } from "./workload.ts";

/** What operators' commands mean for the units of the workload; each replacement has a content of its own. */
export class Wishes {
  readonly #versions = new Map<string, { version: number; note: number }>();

  changes(command: Command, index: number): readonly UnitChange[] {
    const work = WORKLOAD[index];
    if (work === undefined) return [];
    const { name } = work;
    const known = this.#versions.get(name) ?? { version: 1, note: 1 };
    if (command === "replace") known.version += 1;
    if (command === "replace-note") known.note += 1;
    this.#versions.set(name, known);
    const content = unitContent(work, known);
    const submit = { type: "submit", name, content } as const;
    switch (command) {
      case "start":
        return [{ ...submit, desired: "launched", replace: true }];
      case "load":
        return [{ ...submit, desired: "loaded", replace: true }];
      case "unload":
        return [{ type: "desire", name, desired: "inactive" }];
      case "destroy":
        return [{ type: "destroy", name }];
      case "recreate":
        return [
          { type: "destroy", name },
          { ...submit, desired: "launched" },
        ];
      case "replace":
      case "replace-note":
        return [{ ...submit, replace: true }];
      case "restart":
        return [{ type: "restart", name }];
    }
  }
}
