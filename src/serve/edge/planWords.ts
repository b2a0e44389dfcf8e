import { InputError, show } from '../../core/errors.ts'
import { isMissingFile } from '../../core/fileErrors.ts'
import { readText } from '../../core/files.ts'
import { parseJson } from '../../core/schema.ts'
import { resolvedPlanFromJson, type ResolvedPlan } from '../../run/executor/messages.ts'
import type { WeightSource } from '../../model/graphs/source.ts'
import { attentionUnits, type ModelSpec } from '../../model/spec.ts'
import {
  BOUNDARY_BITS,
  CLOUD,
  EDGE,
  cutPlan,
  exitPlan,
  sideOfLayer,
  type BoundaryBits,
  type Plan,
  type Side,
} from '../../plan/plan.ts'
import type { AccuracyTable } from '../../plan/profile/accuracy.ts'
import { resolvePlan } from './resolvePlan.ts'

/** Plans in a word, as `--plan` takes them beside files. */
export const SHORTHANDS: readonly (readonly [string, string])[] = [
  ['edge', 'everything on the edge'],
  ['cloud', 'everything in the cloud: token ids go up, tokens come down'],
  ['cut:3', 'embedding and layers 0-2 on the edge, the layers above and the LM head in the cloud'],
  ['cut:3@8', 'the same, with 8 bits an element of the tensors that cross (32, 16, 8 or 4)'],
  ['split:0.5', 'half of the heads of every layer in the cloud, the least sensitive ones; also @bits'],
  [
    'exit:2@0.8',
    'tokens whose confidence after 2 layers reaches 0.8 leave there, the cloud is asked for the others',
  ],
  ['exit:2@0.8:standalone', 'every token leaves after 2 layers, without a cloud'],
]

const MAX_PLAN_BYTES = 4 * 1024 * 1024

/** A plan in a few words: `cut:3@8`, `edge`, `cloud`, `exit:2@0.8@8` (its bits last), or how many layers lie where. */
export function planText({ plan }: Pick<ResolvedPlan, 'plan'>, units: number): string {
  const bits = plan.boundaryBits === 32 ? '' : `@${plan.boundaryBits}`
  if (plan.exit !== null) {
    const { layer, threshold, mode } = plan.exit
    return mode === 'standalone' ? `exit:${layer}:standalone` : `exit:${layer}@${threshold}${bits}`
  }
  const letter = (side: Side | null): string => (side === null ? 's' : side === EDGE ? 'e' : 'c')
  const layers = plan.ffn.length
  const strip = Array.from(plan.ffn, (_, layer) => letter(sideOfLayer(plan, layer, units))).join('')
  if (strip === 'e'.repeat(layers) && plan.head === EDGE && plan.embed === EDGE) return 'edge'
  const cut = strip.indexOf('c')
  if (cut === 0 && strip === 'c'.repeat(layers) && plan.embed !== EDGE) return 'cloud'
  if (cut > 0 && strip === 'e'.repeat(cut) + 'c'.repeat(layers - cut) && plan.head !== EDGE)
    return `cut:${cut}${bits}`
  return `${strip}${bits}`
}

/** The plan of `--plan`: a shorthand or a file. Throws InputError. */
export function readPlan(
  text: string,
  source: Pick<WeightSource, 'model' | 'exitLayers'>,
  ranking: AccuracyTable['ranking'],
): ResolvedPlan {
  const word = shorthand(text, source.model)
  if (word === null) return checkExits(source, planFile(text, source.model))
  return checkExits(source, resolvePlan(word, ranking.unitsByLayer))
}

/** Throws InputError for an early exit where the model has no exit head. */
export function checkExits(
  { model, exitLayers }: Pick<WeightSource, 'model' | 'exitLayers'>,
  placed: ResolvedPlan,
): ResolvedPlan {
  const { exit } = placed.plan
  if (exit === null || exitLayers.includes(exit.layer)) return placed
  throw new InputError({
    where: 'plan: exit',
    expected:
      exitLayers.length === 0
        ? `no early exit: ${model.id} was trained without exit heads`
        : `an exit head of ${model.id}, after layer ${exitLayers.join(' or ')}`,
    found: `an exit after layer ${exit.layer}`,
  })
}

/** A bare plan, `{ plan }`, or a whole answer of `edgewise oracle --json` (its optimum). */
function planFile(path: string, model: ModelSpec): ResolvedPlan {
  const value = parseJson(readPlanText(path), path)
  const inner = planWithin(value)
  if (inner !== null) return resolvedPlanFromJson(model, inner, path)
  throw new InputError({
    where: path,
    expected: 'a plan: { embed, layers, head, boundaryBits, exit }',
    found: 'an answer without a plan',
  })
}

function readPlanText(path: string): string {
  try {
    return readText(path, MAX_PLAN_BYTES)
  } catch (error) {
    if (!isMissingFile(error)) throw error
    const words = SHORTHANDS.map(([word]) => word).join(', ')
    throw new InputError(
      {
        where: '--plan',
        expected: `a file, or a plan in a word such as ${words}`,
        found: show(path),
        remedy: 'see --help',
      },
      { cause: error },
    )
  }
}

function planWithin(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return value
  if ('optimum' in value) return planWithin(value.optimum)
  return 'plan' in value ? value.plan : value
}

/** Null for a text that is no shorthand. */
function shorthand(text: string, model: ModelSpec): Plan | null {
  const { layers } = model
  const units = attentionUnits(model)
  if (text === 'edge') return cutPlan(layers, units, layers, 32, EDGE, EDGE)
  if (text === 'cloud') return cutPlan(layers, units, 0, 32, CLOUD, CLOUD)
  const [, kind, first, second, mode] =
    /^(cut|split|exit):([^@:/\\]+)(?:@([^@:/\\]+))?(?::([^@:/\\]+))?$/.exec(text) ?? []
  if (kind === undefined) return null
  const read = new ShorthandParser(text)
  if (kind === 'exit') return exit(read, model, [first, second, mode])
  if (mode !== undefined) read.refuse('nothing after the bits', show(mode))
  const bits = second === undefined ? 32 : read.bits(second)
  if (kind === 'cut') {
    const cut = read.number(first, 0, layers, true)
    // The embedding stands with the first layer; LM head and sampler with the last.
    return cutPlan(layers, units, cut, bits, cut === 0 ? CLOUD : EDGE, cut === layers ? EDGE : CLOUD)
  }
  const share = read.number(first, 0, 1, false)
  const plan = cutPlan(layers, units, layers, bits, EDGE, EDGE)
  plan.unitsOnCloud.fill(Math.round(share * units))
  return plan
}

function exit(
  read: ShorthandParser,
  model: ModelSpec,
  [layer, threshold, mode]: readonly (string | undefined)[],
): Plan {
  if (threshold === undefined) return read.refuse('a threshold, e.g. exit:2@0.8', 'none')
  const after = read.number(layer!, 1, model.layers - 1, true)
  const confidence = read.number(threshold, Number.MIN_VALUE, 1, false)
  if (mode !== undefined && mode !== 'standalone' && mode !== 'collaborative')
    return read.refuse('standalone or collaborative', show(mode))
  const early = { layer: after, threshold: confidence, mode: mode ?? 'collaborative' } as const
  return exitPlan(model.layers, attentionUnits(model), early, 32)
}

/** Reads the parts of one shorthand; its errors name the whole of it. */
class ShorthandParser {
  private readonly text: string

  constructor(text: string) {
    this.text = text
  }

  number(part: string, low: number, high: number, whole: boolean): number {
    const value = Number(part)
    if (value >= low && value <= high && (!whole || Number.isInteger(value))) return value
    const least = low === Number.MIN_VALUE ? 'above 0 and at most ' : `in ${low}..`
    return this.refuse(`${whole ? 'an integer' : 'a number'} ${least}${high}`, show(part))
  }

  bits(part: string): BoundaryBits {
    const bits = BOUNDARY_BITS.find((known) => String(known) === part)
    return bits ?? this.refuse('32, 16, 8 or 4 bits', show(part))
  }

  refuse(expected: string, found: string): never {
    throw new InputError({ where: `--plan ${this.text}`, expected, found })
  }
}
