import { z } from 'zod'
import { InputError, show } from '../../core/errors.ts'
import { canonicalJson } from '../../core/files.ts'
import { OBSERVATION_NAMES, OBSERVATION_VERSION } from '../observation/observation.ts'
import { ACTION_VERSION, ROW_FEATURE_NAMES, globalChoices } from '../action/planDecoder.ts'
import type { GlobalChoice } from '../action/planDecoder.ts'
import { pairUnits } from '../../plan/price/pair.ts'
import type { DecisionProblem } from '../../plan/price/problem.ts'
import type { ActorHead, ActorSpec } from '../actor/actor.ts'

const name = z.string().min(1).max(100)
const width = z.int().min(1).max(65_536)
const version = z.int().min(0).max(1_000_000)

/** The observation of a policy: version and element names, in order. */
export const observationContractSchema = z.strictObject({ version, names: z.array(name).min(1).max(4096) })

const headSchema = z.strictObject({
  name,
  choices: z.int().min(1).max(65_536),
  masked: z.boolean(),
  usesRowFeatures: z.boolean(),
  hidden: z.int().min(0).max(65_536),
})

const wideChoiceSchema = z.strictObject({
  boundaryBits: z.union([z.literal(32), z.literal(16), z.literal(8), z.literal(4)]),
  embed: z.union([z.literal(0), z.literal(1)]),
  head: z.union([z.literal(0), z.literal(1)]),
  exit: z
    .strictObject({
      layer: z.int().min(1).max(255),
      threshold: z.number().gt(0).max(1),
      mode: z.enum(['standalone', 'collaborative']),
    })
    .nullable(),
})

/** The action of a policy: version, row features, heads, and the plan-wide choices in order. */
export const actionContractSchema = z.strictObject({
  version,
  rowFeatures: z.array(name).min(1).max(4096),
  heads: z.array(headSchema).min(1).max(16),
  planWideChoices: z.array(wideChoiceSchema).min(1).max(65_536),
})

/** The other sizes of the actor's shape. */
export const actorShapeSchema = z.strictObject({
  observationClip: z.number().positive().max(1e6),
  encoder: z.array(width).min(1).max(16),
})

/** The contract between a policy and the program that runs it. */
interface Contract {
  readonly observation: z.infer<typeof observationContractSchema>
  readonly action: z.infer<typeof actionContractSchema>
  readonly actor: z.infer<typeof actorShapeSchema>
}

/** The contract of an actor for a problem, as in this program. */
export function contractOf(problem: DecisionProblem, spec: ActorSpec): Contract {
  return {
    observation: { version: OBSERVATION_VERSION, names: [...OBSERVATION_NAMES] },
    action: {
      version: ACTION_VERSION,
      rowFeatures: [...ROW_FEATURE_NAMES],
      heads: spec.heads.map((head) => ({ ...head })),
      planWideChoices: planWide(problem),
    },
    actor: { observationClip: spec.observationClip, encoder: [...spec.encoder] },
  }
}

/** The actor's shape under a contract, without critics. */
export function specOf(contract: Contract, layers: number): ActorSpec {
  const { observation, action, actor } = contract
  return {
    observationSize: observation.names.length,
    observationClip: actor.observationClip,
    encoder: actor.encoder,
    heads: action.heads,
    headOf: [0, ...new Array<number>(layers).fill(1)],
    rowFeatureSize: action.rowFeatures.length,
    critics: [],
    criticHidden: [],
  }
}

/**
 * Refuses a contract that differs from this program's: names both versions, or the first name or choice that differs.
 * Throws InputError.
 */
export function checkContract(contract: Contract, problem: DecisionProblem, where: string): void {
  const { observation, action } = contract
  sameVersion('observation', observation.version, OBSERVATION_VERSION, where)
  sameVersion('action', action.version, ACTION_VERSION, where)
  sameList(observation.names, OBSERVATION_NAMES, `${where}: observation.names`)
  sameList(action.rowFeatures, ROW_FEATURE_NAMES, `${where}: action.rowFeatures`)
  const choices = planWide(problem)
  sameList(action.planWideChoices, choices, `${where}: action.planWideChoices`)
  sameList(action.heads.map(shapeOfHead), expectedHeads(problem, choices.length), `${where}: action.heads`)
}

/** Refuses an actor whose shape does not fit the problem. Throws InputError. */
export function checkSpec(spec: ActorSpec, problem: DecisionProblem, where: string): void {
  const { layers } = problem.pair.model
  checkContract(contractOf(problem, spec), problem, where)
  const fits = (found: number, expected: number, place: string): void => {
    if (found !== expected)
      throw new InputError({
        where: `${where}: ${place}`,
        expected: String(expected),
        found: String(found),
        remedy: 'export a run with the scenario it was trained on',
      })
  }
  fits(spec.observationSize, OBSERVATION_NAMES.length, 'observationSize')
  fits(spec.rowFeatureSize, ROW_FEATURE_NAMES.length, 'rowFeatureSize')
  fits(spec.headOf.length, 1 + layers, 'headOf (rows)')
  spec.headOf.forEach((head, row) => fits(head, row === 0 ? 0 : 1, `headOf.${row}`))
}

/** The plan-wide choices in order, as plain data. */
function planWide(problem: DecisionProblem): GlobalChoice[] {
  return globalChoices(problem).map(({ boundaryBits, embed, head, exit }) => ({
    boundaryBits,
    embed,
    head,
    exit,
  }))
}

function shapeOfHead({ name, choices, masked, usesRowFeatures }: ActorHead) {
  return { name, choices, masked, usesRowFeatures }
}

function expectedHeads(problem: DecisionProblem, planWide: number) {
  return [
    { name: 'plan', choices: planWide, masked: true, usesRowFeatures: false },
    { name: 'layer', choices: (pairUnits(problem.pair) + 1) * 3, masked: true, usesRowFeatures: true },
  ]
}

function sameVersion(what: string, found: number, own: number, where: string): void {
  if (found === own) return
  throw new InputError({
    where: `${where}: ${what}.version`,
    expected: `version ${own} of the ${what} contract (this program's)`,
    found: `version ${found} (the bundle's)`,
    remedy: 'use the version of edgewise that the manifest names under versions, or export the bundle again',
  })
}

function sameList(found: readonly unknown[], expected: readonly unknown[], where: string): void {
  for (let i = 0; i < Math.max(found.length, expected.length); i++) {
    const [a, b] = [found[i], expected[i]].map((value) =>
      value === undefined ? 'nothing' : canonicalJson(value),
    )
    if (a === b) continue
    throw new InputError({
      where: `${where}.${i}`,
      expected: show(b, 200),
      found: show(a, 200),
      remedy: 'the bundle was made for another problem or by another version: export it again',
    })
  }
}
