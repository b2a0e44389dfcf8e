import { readdirSync } from 'node:fs'
import { join, relative } from 'node:path'
import { z } from 'zod'
import { InputError } from '../../core/errors.ts'
import { readConfig } from '../../core/schema.ts'
import { mergeTraces } from '../merge.ts'
import { fitMarkovLink } from '../fit.ts'
import { importTraceFile, TRACE_FORMATS } from './detect.ts'
import type { ImportOptions } from './detect.ts'
import { linkModelSchema } from '../markov.ts'
import type { LinkModel } from '../markov.ts'
import type { Trace } from '../table.ts'
import type { Direction } from '../types.ts'

const column = z.strictObject({ column: z.union([z.string(), z.number().int().min(1)]), unit: z.string() })
function isPattern(text: string): boolean {
  try {
    return new RegExp(text) instanceof RegExp
  } catch {
    return false
  }
}

const filesSchema = z.strictObject({
  /** Relative to the folder of recordings; `/` separates folders. */
  folder: z.string(),
  /** A regular expression for paths relative to that folder. */
  files: z.string().refine(isPattern, 'a regular expression'),
  /** Whether files whose names differ only in their extension were recorded at the same time. */
  together: z.boolean().optional(),
  direction: z.enum(['up', 'down']).optional(),
  format: z.enum(TRACE_FORMATS).optional(),
  stamp: z.enum(['start', 'end']).optional(),
  maxStepSeconds: z.number().positive().optional(),
  zeroIsMissing: z.boolean().optional(),
  columns: z
    .strictObject({
      time: column,
      end: column.optional(),
      uplink: column.optional(),
      downlink: column.optional(),
      rtt: column.optional(),
    })
    .optional(),
})
const recipeSchema = z.strictObject({
  ...linkModelSchema.omit({ schemaVersion: true, kind: true, chains: true }).shape,
  chains: z.array(
    z.strictObject({
      lanes: z.array(z.enum(['uplink', 'downlink', 'rtt'])).min(1),
      states: z.number().int().min(1).max(32),
      recordings: z.array(filesSchema).min(1),
    }),
  ),
})

/** How a shipped link model was fitted: its texts, and which recordings each chain is fitted to. */
export type LinkRecipe = z.infer<typeof recipeSchema>
type Files = z.infer<typeof filesSchema>

/**
 * Reads a file of recipes.
 * @throws InputError naming file and field
 */
export function readRecipes(path: string): LinkRecipe[] {
  return readConfig(z.strictObject({ links: z.array(recipeSchema) }), path).links
}

/**
 * Fits a recipe to the recordings below `root`; the same files give the same model.
 * @throws InputError if a chain has no recording
 */
export function fitRecipe({ chains, ...text }: LinkRecipe, root: string): LinkModel {
  return fitMarkovLink(
    text,
    chains.map(({ lanes, states, recordings }) => ({
      lanes,
      states,
      traces: recordings.flatMap((files) => load(files, root, text.name)),
    })),
  )
}

function load(files: Files, root: string, name: string): Trace[] {
  const { folder, files: pattern, together, direction, ...options } = files
  const paths = filesBelow(join(root, folder)).filter((path) => new RegExp(pattern).test(path))
  if (paths.length === 0) {
    throw new InputError({
      where: `${name}: ${folder}`,
      expected: `recordings that match ${pattern}`,
      found: 'none',
      remedy: 'name the folder that holds the recordings; they are not shipped',
    })
  }
  const source: { origin: string; licence: string; direction?: Direction } = {
    origin: folder,
    licence: 'see origin',
  }
  if (direction !== undefined) source.direction = direction
  const traces = paths.map((path) =>
    importTraceFile(join(root, folder, path), source, options as ImportOptions),
  )
  if (together !== true) return traces
  const stems = paths.map((path) => path.replace(/\.[^.]*$/, ''))
  return [...new Set(stems)].map((stem) =>
    mergeTraces(
      traces.filter((_, i) => stems[i] === stem),
      stem,
    ),
  )
}

/** Paths below a folder, separated by `/`, in the same order on every system. */
function filesBelow(folder: string): string[] {
  let entries
  try {
    entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  } catch (error) {
    const found = (error as NodeJS.ErrnoException).code ?? 'an error'
    throw new InputError({ where: folder, expected: 'a folder of recordings', found }, { cause: error })
  }
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split('\\').join('/'))
    .sort()
}
