import { join } from 'node:path'
import type { Command } from 'commander'
import { z } from 'zod'
import { latencyTermSchema, objectiveWeightsSchema } from '../../plan/price/json.ts'
import { InputError, show } from '../../core/errors.ts'
import { precisionSchema } from '../../model/precision.ts'
import { loadModel } from '../../model/catalog.ts'
import {
  DEFAULT_OBJECTIVE,
  type LatencyForm,
  type Objective,
  type Weights,
} from '../../plan/price/objective.ts'
import { NO_PRICES, type OracleInput } from '../../plan/price/question.ts'
import { createPair, type DevicePair } from '../../plan/price/pair.ts'
import { BOUNDARY_BITS, type BoundaryBits } from '../../plan/plan.ts'
import { accuracyTable, readAccuracyTable } from '../../plan/profile/accuracy.ts'
import { shippedAccuracyFile } from '../../plan/profile/shipped.ts'
import { packageRoot } from '../../core/packageRoot.ts'
import type { Profile } from '../../plan/profile/types.ts'
import { loadCosts } from '../../sim/scenario/profiles.ts'
import { integerOption, numberOption, requireChoice, weightsOption } from '../options.ts'

/** Options that describe one request on one pair over one link: `oracle` and `simulate` share them. */
export interface RequestOptions {
  readonly model?: string
  readonly edge?: string
  readonly cloud?: string
  readonly upMbps?: number
  readonly downMbps?: number
  readonly rttMs?: number
  readonly prompt?: number
  readonly output?: number
  readonly weights: Partial<Weights>
  readonly latency: string
  readonly deadline?: number
  readonly readingTokensPerSecond: number
  readonly memoryGb?: number
  readonly bits: readonly BoundaryBits[]
  readonly earlyExit?: boolean
  readonly edgeLayersFirst: number
  readonly edgeLayersLast: number
  readonly accuracy?: string
}

const WEIGHT_NAMES = ['latency', 'energy', 'cloud', 'bytes', 'accuracy'] as const
const FORMS = ['mean', 'qoe', 'convex'] as const
const rate = numberOption({ min: 0, max: 1e9 })

/** Declares the options; those that `oracle` cannot do without are checked by requestOf. */
export function addRequestOptions(command: Command): void {
  command
    .option('--model <id|file>', 'the model, see `edgewise models`')
    .option('--edge <device>', 'edge: a device id, a device YAML, or a profile JSON of `edgewise profile`')
    .option('--cloud <device>', 'cloud: likewise')
    .option('--up-mbps <n>', 'uplink, Mbit/s', rate)
    .option('--down-mbps <n>', 'downlink, Mbit/s', rate)
    .option('--rtt-ms <n>', 'round-trip time, milliseconds', numberOption({ min: 0, max: 1e6 }))
    .option('--prompt <tokens>', 'tokens of the prompt', integerOption({ min: 1 }))
    .option('--output <tokens>', 'tokens of the answer', integerOption({ min: 1 }))
    .option(
      '--weights <name=n,...>',
      'weights of the cost: latency (per s), energy (per J), cloud (per busy s), bytes (per MB up), accuracy (per nat); ' +
        'default latency=1,energy=0,cloud=0,bytes=0,accuracy=1',
      weightsOption(WEIGHT_NAMES),
      {},
    )
    .option('--latency <form>', `what latency counts: ${FORMS.join(', ')}`, 'mean')
    .option('--deadline <s>', 'convex: seconds after which lateness counts squared', numberOption({ min: 0 }))
    .option(
      '--reading-tokens-per-second <n>',
      'qoe: how fast the reader reads',
      numberOption({ min: 0, exclusiveMin: true }),
      10,
    )
    .option(
      '--memory-gb <n>',
      "edge memory for weights and K/V, 10^9 bytes (default: the device's)",
      numberOption({ min: 0 }),
    )
    .option('--bits <list>', 'bits per element of boundary tensors that may be chosen', bitsOption, [
      ...BOUNDARY_BITS,
    ])
    .option('--early-exit', 'also consider early exits')
    .option('--edge-layers-first <m>', 'pin the first m layers to the edge', integerOption({ min: 0 }), 0)
    .option('--edge-layers-last <n>', 'pin the last n layers to the edge', integerOption({ min: 0 }), 0)
    .option('--accuracy <file>', 'accuracy table that replaces the one beside the model, or the assumed one')
}

function bitsOption(text: string): BoundaryBits[] {
  return text.split(',').map((part) => {
    const bits = BOUNDARY_BITS.find((known) => String(known) === part.trim())
    if (bits !== undefined) return bits
    throw new InputError({ where: '--bits', expected: 'a list of 32, 16, 8 and 4', found: show(text) })
  })
}

/** The question that the options pose, with everything loaded and checked. Throws InputError. */
export function requestOf(options: RequestOptions): OracleInput {
  const model = loadModel(needed('--model', options.model))
  const edge = loadCosts(needed('--edge', options.edge), model)
  const cloud = loadCosts(needed('--cloud', options.cloud), model)
  const table = options.accuracy ?? shippedAccuracyFile(model, join(packageRoot(), 'models'))
  const accuracy = table === null ? accuracyTable(model) : readAccuracyTable(table, model)
  const pair = createPair(edge, cloud, accuracy)
  const promptTokens = needed('--prompt', options.prompt)
  const outputTokens = needed('--output', options.output)
  checkLengths(promptTokens, outputTokens, model.contextTokens, model.id)
  const { edgeLayersFirst, edgeLayersLast } = options
  if (edgeLayersFirst + edgeLayersLast > model.layers) {
    throw new InputError({
      where: '--edge-layers-first and --edge-layers-last',
      expected: `together at most ${model.layers}, the layers of ${model.id}`,
      found: String(edgeLayersFirst + edgeLayersLast),
    })
  }
  return {
    pair,
    state: {
      link: {
        upBitsPerSecond: needed('--up-mbps', options.upMbps) * 1e6,
        downBitsPerSecond: needed('--down-mbps', options.downMbps) * 1e6,
        rttSeconds: needed('--rtt-ms', options.rttMs) / 1e3,
      },
      promptTokens,
      outputTokens,
      edgeSlowdown: 1,
      cloudSlowdown: 1,
    },
    objective: objectiveOf(options),
    readingTokensPerSecond: options.readingTokensPerSecond,
    options: {
      boundaryBits: options.bits,
      earlyExit: options.earlyExit === true,
      exitThresholds: null,
      mixedLayers: true,
      memoryBytes: options.memoryGb === undefined ? pair.edgeMemoryBytes : options.memoryGb * 1e9,
      reservedTokens: promptTokens + outputTokens,
      edgeLayersFirst,
      edgeLayersLast,
    },
    prices: NO_PRICES,
  }
}

function objectiveOf(options: RequestOptions): Objective {
  return {
    weights: { ...DEFAULT_OBJECTIVE.weights, ...options.weights },
    latency: latencyOf(options),
  }
}

function latencyOf(options: RequestOptions): LatencyForm {
  const form = requireChoice('--latency', options.latency, FORMS)
  if (form === 'mean') return { form }
  if (form === 'qoe') return { form, readingTokensPerSecond: options.readingTokensPerSecond }
  return { form, deadlineSeconds: needed('--deadline', options.deadline, 'convex latency has a deadline') }
}

/** The value of an option that cannot be left out. */
export function needed<T>(flag: string, value: T | undefined, remedy = 'see --help for an example'): T {
  if (value !== undefined) return value
  throw new InputError({ where: flag, expected: 'a value', found: 'nothing', remedy })
}

function checkLengths(prompt: number, output: number, context: number, model: string): void {
  if (prompt + output <= context) return
  throw new InputError({
    where: '--prompt and --output',
    expected: `together at most ${context} tokens, the context of ${model}`,
    found: String(prompt + output),
  })
}

const deviceSchema = z.strictObject({
  id: z.string(),
  provenance: z.enum(['measured', 'modelled', 'assumed']),
  /** Of the weights. */
  precision: precisionSchema,
})

/** Profiles that a policy decides on: of which device, how its figures came about, at which precision. */
export const figuresSchema = z.strictObject({ edge: deviceSchema, cloud: deviceSchema })

/** The profiles of a pair as JSON names them. */
export type FiguresJson = z.infer<typeof figuresSchema>

/** Names the profiles that the pair's figures come from. */
export function figuresJson({ edge, cloud }: DevicePair): FiguresJson {
  return { edge: deviceJson(edge.profile), cloud: deviceJson(cloud.profile) }
}

/** What was asked: the same numbers as the flags, defaults filled in. */
export const stateSchema = z.strictObject({
  model: z.string(),
  edge: deviceSchema,
  cloud: deviceSchema,
  upMbps: z.number(),
  downMbps: z.number(),
  rttMs: z.number(),
  promptTokens: z.int(),
  outputTokens: z.int(),
  weights: objectiveWeightsSchema,
  latency: latencyTermSchema,
  boundaryBits: z.array(z.int()),
  earlyExit: z.boolean(),
  memoryBytes: z.number(),
  edgeLayersFirst: z.int(),
  edgeLayersLast: z.int(),
})

type StateJson = z.infer<typeof stateSchema>

/** What was asked, as `--json` repeats it. */
export function stateJson(input: OracleInput): StateJson {
  const { pair, state, objective, options } = input
  return {
    model: pair.model.id,
    ...figuresJson(pair),
    upMbps: state.link.upBitsPerSecond / 1e6,
    downMbps: state.link.downBitsPerSecond / 1e6,
    rttMs: state.link.rttSeconds * 1e3,
    promptTokens: state.promptTokens,
    outputTokens: state.outputTokens,
    weights: { ...objective.weights },
    latency: { ...objective.latency },
    boundaryBits: [...options.boundaryBits],
    earlyExit: options.earlyExit,
    memoryBytes: options.memoryBytes,
    edgeLayersFirst: options.edgeLayersFirst,
    edgeLayersLast: options.edgeLayersLast,
  }
}

function deviceJson({ device, blocks, precision }: Profile): StateJson['edge'] {
  return { id: device.id, provenance: blocks.attention.decode.provenance.kind, precision }
}
