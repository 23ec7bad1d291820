import * as v from "valibot";
import { errorMessage } from "../runtime/errors.ts";
import { badRequest } from "./http.ts";

/** Reads a body of JSON; refuses with 400 and the place that is wrong. `null` counts as an empty object, as Go has it. */
export function decodeBody<S extends v.GenericSchema>(schema: S, text: string): v.InferOutput<S> {
  if (text.trim() === "") throw badRequest("unable to decode body: EOF");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badRequest(`unable to decode body: ${errorMessage(error)}`);
  }
  // valibot takes a list for an object without fields.
  if (Array.isArray(value) && schema.type !== "array") {
    throw badRequest("unable to decode body: expected an object, got a list");
  }
  const parsed = v.safeParse(schema, value ?? {});
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  throw badRequest(`unable to decode body: ${v.getDotPath(issue) ?? "the body"}: ${issue.message}`);
}
