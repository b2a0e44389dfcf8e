import { z } from 'zod'
import { CALIBRATION_SCHEMA, type Calibration } from '../../plan/profile/types.ts'
import { TERMS } from './types.ts'
import type { TermResult } from './statistics.ts'

export const RESULT_SCHEMA = 'edgewise.calibration-result/1'

const share = z.number()
const seconds = z.number().nullable()
const figures = z.strictObject({
  ...{ ttft: seconds, tpot: seconds, endToEnd: seconds, edgeCompute: seconds },
  ...{ cloudCompute: seconds, transferUp: seconds, transferDown: seconds, load: seconds },
})
const count = z.int().min(0)

export const termResultSchema = z.strictObject({
  term: z.enum(TERMS),
  link: z.string(),
  count: z.int().min(1),
  medianSignedError: share,
  medianError: share,
  p95Error: share,
  p95ErrorOfRuns: share,
  medianNoise: share,
  p95Noise: share,
  met: z.boolean(),
})

/** result.json, and `edgewise calibrate --json`. Seconds of a request; under load the mean over requests. */
export const resultSchema = z.strictObject({
  schema: z.literal(RESULT_SCHEMA),
  at: z.string(),
  model: z.string(),
  carriage: z.enum(['relay', 'wan']),
  /** Whether each side had a core of its own. */
  pinned: z.boolean(),
  /** Of predictions.json, known before anything was measured. */
  predictionsSha256: z.string().regex(/^[0-9a-f]{64}$/),
  messageSeconds: z.number(),
  /** What the carriage adds to a message, measured on a line without a link. */
  excessSeconds: z.number(),
  repeats: z.int().min(1),
  /** Runs in which a session was loaded, and which were made again. */
  discardedRuns: count,
  links: z.array(z.strictObject({ id: z.string(), label: z.string(), phaseSeconds: z.number() })),
  leftOut: z.array(z.strictObject({ plan: z.string(), reason: z.string() })),
  terms: z.array(termResultSchema),
  met: z.boolean(),
  cells: z.array(
    z.strictObject({
      id: z.string(),
      plan: z.string(),
      link: z.string(),
      load: z.enum(['alone', 'poisson']),
      promptTokens: count,
      outputTokens: count,
      predicted: figures,
      /** Medians of the runs. */
      measured: figures,
      runs: z.array(figures),
      /** Predicted, and found to be so; down but for answers of another number than predicted. */
      upBytes: count,
      downBytes: count,
      /** Tokens asked of the cloud by all requests, where confidences decide: by the measured share, and in fact. */
      answers: z.strictObject({ predicted: count, measured: z.number().min(0) }).nullable(),
    }),
  ),
})

export type CalibrationResult = z.infer<typeof resultSchema>

/** What a profile keeps of a result. */
export function calibrationOf(result: CalibrationResult, file?: string): Calibration {
  return {
    schema: CALIBRATION_SCHEMA,
    at: result.at,
    ...(file === undefined ? {} : { file }),
    terms: result.terms.map(summary),
    verdict: result.met ? 'met' : 'missed',
  }
}

function summary(result: TermResult): Calibration['terms'][number] {
  const { term, link, medianSignedError, p95Error, medianNoise, count: cells } = result
  return {
    ...{ term, link, count: cells, noise: medianNoise },
    ...{ medianRelativeError: medianSignedError, p95RelativeError: p95Error },
  }
}
