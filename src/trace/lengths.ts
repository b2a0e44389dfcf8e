import { z } from 'zod'
import { InputError } from '../core/errors.ts'
import type { RandomStream } from '../core/random.ts'
import { readConfig } from '../core/schema.ts'

/** Recorded requests: arrival (seconds from the first), prompt and output tokens, length n each. */
export interface RecordedRequests {
  readonly label: string
  /** null: the recording has lengths alone. */
  readonly arrivalSeconds: Float64Array | null
  readonly promptTokens: Float64Array
  readonly outputTokens: Float64Array
  /** What of the file is left out or estimated, in words that begin with its name. */
  readonly notes: readonly string[]
}

const logNormal = z.strictObject({
  logMean: z.number(),
  logSd: z.number().min(0),
  min: z.number().int().min(1),
  max: z.number().int().min(1),
})
/** Schema of a length model. */
const lengthModelSchema = z.strictObject({
  schemaVersion: z.literal(1),
  kind: z.literal('synthetic'),
  name: z.string().regex(/^[a-z0-9-]{1,60}$/, 'lower-case letters, digits and dashes'),
  description: z.string(),
  origin: z.strictObject({
    source: z.string(),
    url: z.string(),
    cite: z.string(),
    licence: z.string(),
    used: z.string(),
  }),
  /** Mean and standard deviation of the natural logarithm of the token count. */
  promptTokens: logNormal,
  outputTokens: logNormal,
  /** Correlation of the two logarithms. */
  correlation: z.number().min(-1).max(1),
})

/** Prompt and output lengths, jointly log-normal, fitted to a recording; lengths drawn from it are synthetic. */
type LengthModel = z.infer<typeof lengthModelSchema>

/** Reads a length model from a file. */
export function readLengthModel(path: string): LengthModel {
  return readConfig(lengthModelSchema, path)
}

/** Mean and standard deviation of the logarithms; smallest and largest value. */
export function moments(tokens: Float64Array): { mean: number; sd: number; min: number; max: number } {
  if (tokens.length === 0) throw new InputError({ where: 'lengths', expected: 'at least one', found: 'none' })
  let sum = 0
  let min = Infinity
  let max = 0
  for (const value of tokens) {
    sum += Math.log(value)
    min = Math.min(min, value)
    max = Math.max(max, value)
  }
  const mean = sum / tokens.length
  let squares = 0
  for (const value of tokens) squares += (Math.log(value) - mean) ** 2
  return { mean, sd: Math.sqrt(squares / tokens.length), min, max }
}

/** Source of lengths: pairs drawn from a recording with replacement, or a model. */
export type LengthSource =
  | { readonly kind: 'recorded'; readonly requests: RecordedRequests }
  | { readonly kind: 'synthetic'; readonly model: LengthModel }
  | { readonly kind: 'fixed'; readonly promptTokens: number; readonly outputTokens: number }

/** Draws one pair of lengths before any limit: [prompt, output] tokens. */
export function drawLengths(source: LengthSource, random: RandomStream): [number, number] {
  if (source.kind === 'fixed') return [source.promptTokens, source.outputTokens]
  if (source.kind === 'recorded') {
    const i = random.integer(source.requests.promptTokens.length)
    return [source.requests.promptTokens[i], source.requests.outputTokens[i]]
  }
  const { promptTokens, outputTokens, correlation } = source.model
  const a = random.normal()
  const b = correlation * a + Math.sqrt(1 - correlation * correlation) * random.normal()
  return [tokensOf(promptTokens, a), tokensOf(outputTokens, b)]
}

function tokensOf({ logMean, logSd, min, max }: LengthModel['promptTokens'], deviate: number): number {
  return Math.min(max, Math.max(min, Math.round(Math.exp(logMean + logSd * deviate))))
}
