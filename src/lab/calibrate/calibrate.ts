import type { Clock } from '../../core/clock.ts'
import { canonicalJson, sha256 } from '../../core/files.ts'
import { randomStream } from '../../core/random.ts'
import { resolvedPlanToJson } from '../../run/executor/messages.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { DEFAULT_NETWORK } from '../../plan/price/network.ts'
import type { AccuracyTable } from '../../plan/profile/accuracy.ts'
import type { Profile } from '../../plan/profile/types.ts'
import { createLink } from '../../trace/link.ts'
import { NO_LINK, type LinkEmulation } from './linkEmulation.ts'
import { gridCells, MAX_IN_FLIGHT } from './grid.ts'
import { ANSWER_BYTES, answersOf, ByteAudit, hasLoads, measuredFigures } from './measured.ts'
import { messageTime } from './messages.ts'
import { dependsOnConfidence, gridPlans, withExits, type SkippedPlan } from './plans.ts'
import { plansAsJson, Predictor, type Prediction } from './predict.ts'
import { RESULT_SCHEMA, type CalibrationResult } from './result.ts'
import { interpolatedMedian } from '../../core/quantile.ts'
import { termResults } from './statistics.ts'
import {
  NO_TERM_VALUES,
  TERMS,
  type Cell,
  type CloudProcess,
  type EdgeProcess,
  type TermValues,
  type LinkCase,
  type PlanCase,
} from './types.ts'

/** What `calibrate` measures, and with what. */
interface CalibrateOptions {
  readonly model: ModelSpec
  readonly accuracy: AccuracyTable
  readonly exitLayers: readonly number[]
  readonly links: readonly LinkCase[]
  readonly edge: EdgeProcess
  readonly cloud: CloudProcess
  readonly emulation: LinkEmulation
  /** Whether TCP's own dynamics (windows, cold connections) add delays, as over an emulated WAN. */
  readonly tcpDynamics: boolean
  /** Profile with measured messages: see profileSides. */
  readonly profile: Profile
  readonly quick: boolean
  /** Runs of each cell, at least 4. */
  readonly repeats: number
  readonly seed: number
  readonly pinned: boolean
  /** Creates a prompt with this many tokens, a different one for each index. */
  readonly prompt: (tokens: number, index: number) => readonly number[]
  readonly clock: Clock
  /** Writes a file of the result. */
  readonly write: (name: string, text: string) => void
  readonly onPredicted?: (sha256: string, file: string) => void
  readonly onProgress?: (done: number, total: number, note: string) => void
  readonly signal?: AbortSignal
}

/** File of the predictions. */
export const PREDICTIONS_FILE = 'predictions.json'
/** File of the result. */
export const RESULT_FILE = 'result.json'

/** Time between announcing a run to both processes and its start, because the announcement takes time. */
const LEAD_SECONDS = 0.05
/** How often a run in which something was loaded is repeated. */
const MOST_DISCARDED = 8

/**
 * Compares the simulator with the runtime: predicts every cell of the grid from profile and link only, writes and
 * hashes the predictions, and then runs both sides. Throws BytesError if a byte count differs from the prediction, and
 * the errors of both sides.
 */
export async function calibrate(options: CalibrateOptions): Promise<CalibrationResult> {
  const { profile, write } = options
  const messageSeconds = profile.wire?.messageSeconds.value ?? DEFAULT_NETWORK.messageSeconds
  const excessSeconds = await connectAll(options, messageSeconds)
  const forecast = predictAll(options, profile, excessSeconds)
  const text = `${canonicalJson(forecast.file)}\n`
  const hash = sha256(text)
  write(PREDICTIONS_FILE, text)
  options.onPredicted?.(hash, PREDICTIONS_FILE)
  const measurement = new Measurement(options, forecast)
  await measurement.runAll()
  const result = resultOf(options, forecast, measurement, { hash, messageSeconds, excessSeconds })
  write(RESULT_FILE, `${JSON.stringify(result, null, 2)}\n`)
  return result
}

/**
 * Connects through every link. Resolves to what the emulation adds to a small message, in seconds: its one-way time
 * minus the link's propagation delay and the one-way time without a relay (`direct`).
 */
async function connectAll(
  { edge, emulation, links, tcpDynamics, quick }: CalibrateOptions,
  direct: number,
): Promise<number> {
  for (const link of [...(tcpDynamics ? [] : [NO_LINK]), ...links.map(({ id }) => id)]) {
    const { host, port } = emulation.address(link)
    await edge.connect(link, host, port)
  }
  const line = tcpDynamics ? links[0].id : NO_LINK
  const flightSeconds = tcpDynamics ? createLink(links[0].series).rttSeconds(0) / 2 : 0
  return Math.max(0, (await messageTime(edge, line, quick)) - flightSeconds - direct)
}

interface Forecast {
  readonly plans: readonly PlanCase[]
  readonly leftOut: readonly SkippedPlan[]
  readonly cells: readonly Cell[]
  readonly predictions: ReadonlyMap<string, Prediction>
  readonly file: unknown
}

function predictAll(options: CalibrateOptions, profile: Profile, excessSeconds: number): Forecast {
  const { model, links, quick, seed, exitLayers, tcpDynamics } = options
  const { plans, leftOut } = gridPlans(model, options.accuracy, exitLayers)
  const accuracy = withExits(options.accuracy, exitLayers)
  const predictor = new Predictor(profile, accuracy, { excessSeconds, tcpDynamics }, plans, links)
  const cells = gridCells({
    model,
    plans,
    links,
    quick,
    random: randomStream(seed, 'calibrate arrivals'),
    aloneSeconds: (cell) =>
      predictor.predict({ ...cell, load: 'alone', arrivalSeconds: [0] }).figures.endToEnd!,
  })
  const predictions = cells.map((cell) => predictor.predict(cell))
  const file = {
    model: model.id,
    seed,
    excessSeconds,
    network: predictor.pair.network,
    leftOut,
    profile,
    plans: plansAsJson({ model }, plans),
    cells,
    predictions,
    links: links.map(({ id, series, phaseSeconds }) => ({ id, label: series.label, phaseSeconds })),
  }
  return { plans, leftOut, cells, predictions: new Map(predictions.map((one) => [one.cell, one])), file }
}

interface Run {
  readonly figures: TermValues
  readonly answers: number | null
}

/** Runs every cell on both sides, round by round, so that changes over time affect all cells alike. */
class Measurement {
  readonly runs = new Map<string, TermValues[]>()
  /** For cells whose number of answers depends on confidences: the number in each run. */
  readonly answers = new Map<string, number[]>()
  discarded = 0
  private readonly options: CalibrateOptions
  private readonly forecast: Forecast
  private readonly book: ByteAudit
  private prompts = 0
  private done = 0

  constructor(options: CalibrateOptions, forecast: Forecast) {
    this.options = options
    this.forecast = forecast
    this.book = new ByteAudit(options.model)
    for (const { id } of forecast.cells) {
      this.runs.set(id, [])
      this.answers.set(id, [])
    }
  }

  async runAll(): Promise<void> {
    const { repeats, seed } = this.options
    const { cells } = this.forecast
    // Loads sessions and compiles code before anything is measured.
    for (const cell of this.warmUps()) await this.run(cell)
    for (let repeat = 0; repeat < repeats; repeat++) {
      const order = [...cells]
      const random = randomStream(seed, `calibrate round ${repeat}`)
      while (order.length > 0) {
        const [cell] = order.splice(random.integer(order.length), 1)
        this.runs.get(cell.id)!.push(await this.measure(cell))
        this.done++
        this.options.onProgress?.(this.done, repeats * cells.length, cell.id)
      }
    }
  }

  /**
   * On every link, so that every connection knows every plan; under load on one link, for the cloud's sessions of
   * batches.
   */
  private warmUps(): Cell[] {
    const { cells } = this.forecast
    const seen = new Set<string>()
    return cells.filter(({ plan, link, load }) => {
      const key = load === 'alone' ? `${plan} ${link}` : plan
      const fresh = !seen.has(key)
      seen.add(key)
      return fresh
    })
  }

  private async measure(cell: Cell): Promise<TermValues> {
    for (let attempt = 0; attempt < MOST_DISCARDED; attempt++) {
      const run = await this.run(cell)
      if (run !== null) {
        if (run.answers !== null) this.answers.get(cell.id)!.push(run.answers)
        return { ...run.figures, load: await this.load(cell) }
      }
      this.discarded++
    }
    throw new RangeError(
      `${cell.id}: expected sessions to stay loaded, found ${MOST_DISCARDED} runs that load`,
    )
  }

  /** Null if a session had to be loaded. */
  private async run(cell: Cell): Promise<Run | null> {
    const { edge, cloud, emulation, clock, model, signal } = this.options
    signal?.throwIfAborted()
    const plan = this.plan(cell)
    const startSeconds = clock.nowSeconds() + LEAD_SECONDS
    emulation.seek(cell.link, startSeconds)
    await cloud.holdReports(true)
    try {
      await edge.run({
        link: cell.link,
        plan: resolvedPlanToJson(model, plan.placed),
        outputTokens: cell.outputTokens,
        startSeconds,
        maxInFlight: MAX_IN_FLIGHT,
        requests: cell.arrivalSeconds.map((arrivalSeconds) => ({
          prompt: this.options.prompt(cell.promptTokens, this.prompts++),
          arrivalSeconds,
        })),
      })
    } finally {
      await cloud.holdReports(false)
    }
    const record = await edge.collect()
    this.book.check(cell, plan, this.forecast.predictions.get(cell.id)!, record)
    if (hasLoads(record)) return null
    const answers = answersOf(plan, record)
    return { figures: measuredFigures(cell, record, answers), answers }
  }

  /**
   * The time to load depends only on the plan: measured once a round for each plan, in its first cell over all links.
   */
  private async load(cell: Cell): Promise<number | null> {
    const { predictions, cells } = this.forecast
    const first = cells.find(({ plan }) => plan === cell.plan)
    if (first !== cell || predictions.get(cell.id)!.figures.load === null) return null
    return this.options.edge.load(resolvedPlanToJson(this.options.model, this.plan(cell).placed))
  }

  private plan(cell: Cell): PlanCase {
    return this.forecast.plans.find(({ id }) => id === cell.plan)!
  }
}

function resultOf(
  options: CalibrateOptions,
  { cells, plans, predictions, leftOut }: Forecast,
  { runs, answers, discarded }: Measurement,
  measured: { hash: string; messageSeconds: number; excessSeconds: number },
): CalibrationResult {
  const { clock, model, pinned, repeats, links, tcpDynamics } = options
  const samples = cells.map(({ id, link }) => ({
    link,
    predicted: predictions.get(id)!.figures,
    runs: runs.get(id)!,
  }))
  const terms = termResults(samples)
  return {
    schema: RESULT_SCHEMA,
    at: clock.wallTime(),
    model: model.id,
    carriage: tcpDynamics ? 'wan' : 'relay',
    pinned,
    predictionsSha256: measured.hash,
    messageSeconds: measured.messageSeconds,
    excessSeconds: measured.excessSeconds,
    repeats,
    discardedRuns: discarded,
    leftOut: [...leftOut],
    links: links.map(({ id, series, phaseSeconds }) => ({ id, label: series.label, phaseSeconds })),
    terms,
    met: terms.every(({ met }) => met),
    cells: cells.map(({ id, plan, link, load, promptTokens, outputTokens }, i) => {
      const { upBytes, downBytes, figures } = predictions.get(id)!
      const { placed } = plans.find((one) => one.id === plan)!
      const asked = dependsOnConfidence(placed)
      return {
        id,
        plan,
        link,
        load,
        promptTokens,
        outputTokens,
        upBytes,
        downBytes,
        answers: asked
          ? { predicted: downBytes / ANSWER_BYTES, measured: interpolatedMedian(answers.get(id)!) }
          : null,
        predicted: figures,
        measured: medians(samples[i].runs),
        runs: [...samples[i].runs],
      }
    }),
  }
}

function medians(runs: readonly TermValues[]): TermValues {
  const entries = TERMS.map((term) => {
    const values = runs.flatMap((run) => run[term] ?? [])
    return [term, values.length === 0 ? null : interpolatedMedian(values)] as const
  })
  return { ...NO_TERM_VALUES, ...Object.fromEntries(entries) }
}
