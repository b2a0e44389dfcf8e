import { openFrame, resolvedPlanToJson, type OpenMessage } from '../../run/executor/messages.ts'
import { GREEDY } from '../../run/executor/types.ts'
import { compileProgram } from '../../plan/price/compile.ts'
import { DEFAULT_NETWORK, type NetworkTerms } from '../../plan/price/network.ts'
import { createPair, type DevicePair } from '../../plan/price/pair.ts'
import { RESOURCE, type Program, type StageList } from '../../plan/price/program.ts'
import type { AccuracyTable } from '../../plan/profile/accuracy.ts'
import { BlockCosts } from '../../plan/profile/costs.ts'
import type { Profile } from '../../plan/profile/types.ts'
import { createReference } from '../../sim/reference.ts'
import type { EpisodeInputs } from '../../sim/types.ts'
import { createLink } from '../../trace/link.ts'
import { constantStep } from '../../trace/step.ts'
import { FRAME_HEADER_BYTES } from '../../run/wire/types.ts'
import { MAX_IN_FLIGHT } from './grid.ts'
import {
  NO_TERM_VALUES,
  type Cell,
  type TermValues,
  type Lengths,
  type LinkCase,
  type PlanCase,
} from './types.ts'
import { simulateUnloaded } from './unloaded.ts'

/** Sequences in the cloud's decode batch. */
export const CLOUD_BATCH = 8

/** What the simulator predicts for a cell before anything is measured. */
export interface Prediction {
  readonly cell: string
  /** Seconds of one request; under load the mean over requests. */
  readonly figures: TermValues
  /** Bytes of all requests of the cell, including frame headers. */
  readonly upBytes: number
  readonly downBytes: number
}

/** Terms of the path besides the link itself. */
export interface LinkEmulationTerms {
  /** Additional time of a message compared with loopback, seconds: the relay's own work, or 0. */
  readonly excessSeconds: number
  /** Whether TCP's own dynamics add delays: windows, cold connections. */
  readonly tcpDynamics: boolean
}

/** The simulator with one profile for both sides, because both processes run on one machine. */
export class Predictor {
  readonly pair: DevicePair
  private readonly plans: ReadonlyMap<string, PlanCase>
  private readonly links: ReadonlyMap<string, LinkCase>

  constructor(
    profile: Profile,
    accuracy: AccuracyTable,
    emulation: LinkEmulationTerms,
    plans: readonly PlanCase[],
    links: readonly LinkCase[],
  ) {
    const costs = new BlockCosts(profile)
    this.pair = createPair(costs, costs, accuracy, networkOf(profile, emulation))
    this.plans = new Map(plans.map((one) => [one.id, one]))
    this.links = new Map(links.map((one) => [one.id, one]))
  }

  predict(cell: Cell): Prediction {
    return cell.load === 'alone' ? this.alone(cell) : this.loaded(cell)
  }

  private alone(cell: Cell): Prediction {
    const link = this.links.get(cell.link)!
    const program = this.program(cell, 0)
    const times = simulateUnloaded(
      program,
      createLink(link.series),
      this.pair.network,
      cell,
      link.phaseSeconds,
    )
    const further = cell.outputTokens - 1
    return {
      cell: cell.id,
      figures: {
        ttft: times.ttftSeconds,
        tpot: further === 0 ? null : (times.endToEndSeconds - times.ttftSeconds) / further,
        endToEnd: times.endToEndSeconds,
        edgeCompute: times.edgeSeconds,
        cloudCompute: times.cloudSeconds,
        transferUp: times.upSeconds,
        transferDown: times.downSeconds,
        load: this.loadSeconds(cell),
      },
      upBytes: times.upBytes - openingOf(program, cell),
      downBytes: times.downBytes,
    }
  }

  /** Predicts a loaded cell with the reference simulator over the same arrivals. */
  private loaded(cell: Cell): Prediction {
    const { series, phaseSeconds } = this.links.get(cell.link)!
    const { promptTokens, outputTokens } = cell
    const arrivals = cell.arrivalSeconds.map((seconds) => ({
      arrivalSeconds: phaseSeconds + seconds,
      promptTokens,
      outputTokens,
      predictedOutputTokens: outputTokens,
      predictedOutputSd: 0,
    }))
    const world: EpisodeInputs = {
      link: createLink(series),
      arrivals,
      network: this.pair.network,
      tenants: constantStep(0),
      maxInFlight: MAX_IN_FLIGHT,
      cloudSlots: CLOUD_BATCH,
      batchFactors: this.batchFactors(),
      readingTokensPerSecond: 10,
      outageSeconds: null,
    }
    const simulation = createReference(world)
    const program = this.program(cell, 0)
    while (simulation.advance() >= 0) simulation.dispatch(program)
    const { outcomes, totals } = simulation
    const ttfts = outcomes.map((one, i) => one.firstTokenSeconds - arrivals[i].arrivalSeconds)
    const ends = outcomes.map((one, i) => one.lastTokenSeconds - arrivals[i].arrivalSeconds)
    const ttft = mean(ttfts)
    const endToEnd = mean(ends)
    return {
      cell: cell.id,
      figures: {
        ...NO_TERM_VALUES,
        ttft,
        endToEnd,
        tpot: outputTokens === 1 ? null : (endToEnd - ttft) / (outputTokens - 1),
        edgeCompute: totals.edgeBusySeconds / arrivals.length,
        cloudCompute: totals.cloudBusySeconds / arrivals.length,
      },
      upBytes: totals.upBytes - arrivals.length * openingOf(program, cell),
      downBytes: totals.downBytes,
    }
  }

  /** Seconds to load sessions in a new engine: the additional edge time of a program with loading. */
  private loadSeconds(cell: Cell): number | null {
    const { edgeWeightBytes, prefill } = this.program(cell, 0)
    if (edgeWeightBytes === 0) return null
    return edgeSeconds(this.program(cell, edgeWeightBytes).prefill) - edgeSeconds(prefill)
  }

  /** Nothing is decided here: the plan is the cell's. The opening of a request travels with its first message. */
  private program(cell: Cell, loadBytes: number): Program {
    const { placed } = this.plans.get(cell.plan)!
    const input = { promptTokens: cell.promptTokens, loadBytes, decisionSeconds: 0 }
    const program = compileProgram(this.pair, placed.plan, input)
    return { ...program, prefill: withOpening(program.prefill, openingBytes(cell)) }
  }

  private batchFactors(): number[] {
    return Array.from({ length: CLOUD_BATCH }, (_, i) => this.pair.cloud.batchFactor(i + 1))
  }
}

/** What the edge sends for a request before its first message. */
export function openingOfCell({ promptTokens, outputTokens }: Lengths, plan: number): OpenMessage {
  const lengths = { promptTokens, maxNewTokens: outputTokens }
  return { plan, ...lengths, sampling: GREEDY, stopIds: [], report: true }
}

/** Plans are numbered in the order in which a connection first uses them; larger numbers may take more bytes. */
const ANY_PLAN = 1

function openingBytes(cell: Lengths): number {
  return FRAME_HEADER_BYTES + openFrame(1, openingOfCell(cell, ANY_PLAN)).payload.byteLength
}

function withOpening(list: StageList, bytes: number): StageList {
  const first = firstUpload(list)
  const stages = list.stages.map((stage, i) =>
    i === first ? { ...stage, bytes: stage.bytes + bytes } : stage,
  )
  return { ...list, stages }
}

/** Bytes of a program that belong to no message. */
function openingOf({ prefill }: Program, cell: Lengths): number {
  return firstUpload(prefill) < 0 ? 0 : openingBytes(cell)
}

function firstUpload({ stages }: StageList): number {
  return stages.findIndex(({ resource }) => resource === RESOURCE.up)
}

function edgeSeconds({ stages }: Program['prefill']): number {
  return stages.reduce((sum, { resource, seconds }) => sum + (resource === RESOURCE.edge ? seconds : 0), 0)
}

function networkOf(profile: Profile, { excessSeconds, tcpDynamics }: LinkEmulationTerms): NetworkTerms {
  const measured = profile.wire?.messageSeconds.value ?? DEFAULT_NETWORK.messageSeconds
  const terms = { ...DEFAULT_NETWORK, messageSeconds: measured + excessSeconds }
  return tcpDynamics ? terms : { ...terms, beyondWindowRtts: 0, coldRtts: 0 }
}

/** Arithmetic mean. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Plans in the JSON of frames and files. */
export function plansAsJson(pair: Pick<DevicePair, 'model'>, plans: readonly PlanCase[]) {
  return plans.map(({ id, placed }) => ({ id, plan: resolvedPlanToJson(pair.model, placed) }))
}
