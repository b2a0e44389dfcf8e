import { InputError, show } from '../core/errors.ts'
import type { Program, StageList } from '../plan/price/program.ts'
import { RESOURCE } from '../plan/price/program.ts'
import type { StepSeries } from '../trace/types.ts'
import type { EpisodeInputs } from './types.ts'

function refuse(where: string, expected: string, found: unknown, remedy?: string): never {
  throw new InputError({ where, expected, found: show(found), remedy })
}

function checkPositiveInteger(where: string, value: number): void {
  if (!Number.isInteger(value) || value < 1) refuse(where, 'an integer of at least 1', value)
}

function checkTenants(tenants: StepSeries): void {
  const { timeSeconds, value } = tenants
  if (timeSeconds.length < 1 || timeSeconds.length !== value.length) {
    refuse(
      'world.tenants',
      'as many values as times, at least one',
      `${timeSeconds.length} and ${value.length}`,
    )
  }
  for (let i = 0; i < value.length; i++) {
    if (!(value[i] >= 0 && value[i] < Infinity))
      refuse(`world.tenants.value[${i}]`, 'a number of at least 0', value[i])
    if (i > 0 && !(timeSeconds[i] > timeSeconds[i - 1])) {
      refuse(`world.tenants.timeSeconds[${i}]`, `a time past ${timeSeconds[i - 1]}`, timeSeconds[i])
    }
  }
}

/** Throws InputError on a world that no simulation can run. */
export function checkWorld(world: EpisodeInputs): void {
  checkPositiveInteger('world.maxInFlight', world.maxInFlight)
  checkPositiveInteger('world.cloudSlots', world.cloudSlots)
  if (world.batchFactors.length < world.cloudSlots) {
    refuse(
      'world.batchFactors',
      `a factor for each batch of 1..${world.cloudSlots}`,
      world.batchFactors.length,
    )
  }
  for (const factor of world.batchFactors) {
    if (!(factor > 0 && factor < Infinity)) refuse('world.batchFactors', 'factors above 0', factor)
  }
  if (!(world.readingTokensPerSecond > 0)) {
    refuse('world.readingTokensPerSecond', 'a rate above 0', world.readingTokensPerSecond)
  }
  if (world.outageSeconds !== null && !(world.outageSeconds > 0 && world.outageSeconds < Infinity)) {
    refuse('world.outageSeconds', 'a duration above 0, or null', world.outageSeconds)
  }
  checkTenants(world.tenants)
  let before = 0
  for (const [index, { arrivalSeconds, outputTokens, promptTokens }] of world.arrivals.entries()) {
    const where = `world.arrivals[${index}]`
    if (!(arrivalSeconds >= before && arrivalSeconds < Infinity)) {
      refuse(
        `${where}.arrivalSeconds`,
        `a time of at least ${before}`,
        arrivalSeconds,
        'sort the arrivals by time',
      )
    }
    before = arrivalSeconds
    checkPositiveInteger(`${where}.outputTokens`, outputTokens)
    if (!(promptTokens >= 0)) refuse(`${where}.promptTokens`, 'a count of at least 0', promptTokens)
  }
}

/** Throws InputError on stages that are out of order, out of range or not finite. */
export function checkList(where: string, list: StageList, edgeKnots: number, cloudKnots: number): void {
  const { stages, loop, deliver } = list
  if (stages.length < 1) refuse(`${where}.stages`, 'at least one stage', 'none')
  if (!(loop in stages)) refuse(`${where}.loop`, `a stage of 0..${stages.length - 1}`, loop)
  if (!(deliver in stages)) refuse(`${where}.deliver`, `a stage of 0..${stages.length - 1}`, deliver)
  for (let i = 0; i < stages.length; i++) {
    const stage = stages[i]
    for (const earlier of stage.after) {
      if (!(Number.isInteger(earlier) && earlier >= 0 && earlier < i)) {
        refuse(`${where}.stages[${i}].after`, `stages before ${i} (topological order)`, earlier)
      }
    }
    if (!(stage.seconds >= 0 && stage.seconds < Infinity)) {
      refuse(`${where}.stages[${i}].seconds`, 'a finite duration of at least 0', stage.seconds)
    }
    if (!(stage.bytes >= 0 && stage.bytes < Infinity)) {
      refuse(`${where}.stages[${i}].bytes`, 'a finite size of at least 0', stage.bytes)
    }
    const knots = stage.resource === RESOURCE.edge ? edgeKnots : cloudKnots
    if (stage.curve !== null && stage.curve.length !== knots) {
      refuse(`${where}.stages[${i}].curve`, `${knots} values, one a knot`, stage.curve.length)
    }
  }
}

/** Throws InputError on a program that cannot run. */
export function checkProgram(program: Program): void {
  const edge = program.edgeKnots.length
  const cloud = program.cloudKnots.length
  if (program.cycles.length < 1) refuse('program.cycles', 'one or two lists', 'none')
  checkList('program.prefill', program.prefill, edge, cloud)
  for (let kind = 0; kind < program.cycles.length; kind++) {
    checkList(`program.cycles[${kind}]`, program.cycles[kind], edge, cloud)
  }
}

/** A transfer that would never end is a fault of the link given, not of the run. */
export function refuseDeadLink(direction: string, startSeconds: number): never {
  refuse(
    `world.link (${direction})`,
    `a rate above 0 at some time after ${startSeconds} s`,
    'none: a transfer would never end',
    'give a link that carries data in both directions',
  )
}

/** keep() without a request under re-planning. */
export function refuseKeep(): never {
  refuse(
    'Simulation.keep',
    "a request named by advance() with the decision 'replan'",
    'none',
    'dispatch() what waits; only what is in flight can be kept as it is',
  )
}

/** dispatch() without a request under decision. */
export function refuseDispatch(): never {
  refuse(
    'Simulation.dispatch',
    'a request named by advance()',
    'none',
    'call advance() before each dispatch()',
  )
}
