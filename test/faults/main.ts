import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ALL_KINDS, drawCampaign, FAMILIES, runCampaign, type Family, type FaultName } from './campaign.ts'
import { isGood, type Kind, type Outcome } from './kinds.ts'
import { figuresOf, isClean, summaryOf, withFigures } from './report.ts'

const USAGE = `npm run test:faults -- [--seed <n>] [--count <n>] [--only <kind>] [--one <family>:<seed>,...] [--write]
  --count  faults, 1000 unless told
  --only   one kind: ${ALL_KINDS.join(', ')}
  --one    one fault alone, as a failing one says; several, with commas between them, one after another
  --write  puts the figures into docs/reliability.md`

const BATCH = 100

/** Runs faults as told on the command line; the exit code is 1 where one of them did not end well. */
async function main(root: string): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      count: { type: 'string', default: '1000' },
      only: { type: 'string' },
      one: { type: 'string' },
      write: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return say(USAGE, 0)
  const [seed, count] = [Number(values.seed), Number(values.count)]
  const only = values.only as Kind | undefined
  if (!Number.isInteger(seed) || seed < 0 || !Number.isInteger(count) || count < 1) return say(USAGE, 2)
  if (only !== undefined && !ALL_KINDS.includes(only)) return say(USAGE, 2)
  const one = values.one?.split(',').map((text) => readOne(text, only)) ?? null
  if (one?.includes(null) === true) return say(USAGE, 2)
  const faults = (one as FaultName[] | null) ?? drawCampaign(seed, count, only)
  let done = 0
  const onOutcome = (outcome: Outcome): void => {
    done++
    if (!isGood(outcome))
      say(`FAILED ${JSON.stringify(outcome)}\n  alone: ${aloneOf(outcome, faults[done - 1])}`, 1)
    if (one !== null && isGood(outcome)) say(JSON.stringify(outcome), 0)
    if (done % 25 === 0) say(`${done}/${faults.length} ${outcome.kind}, ${outcome.phase}`, 0)
  }
  const result = await runCampaign({ faults, cli: join(root, 'dist', 'cli.js'), batch: BATCH, onOutcome })
  for (const leak of result.leaks) say(`LEAK ${leak}`, 1)
  say(summaryOf(result), 0)
  const clean = isClean(result)
  const command = `npm run test:faults -- --seed ${seed} --count ${count}`
  if (values.write && one === null && only === undefined)
    write(root, figuresOf({ ...result, seed, command, machine: machine() }))
  return clean ? 0 : 1
}

function readOne(text: string, kind: Kind | undefined): FaultName | null {
  const [family, seed] = text.split(':')
  if (!FAMILIES.includes(family as Family) || !/^\d{1,15}$/.test(seed ?? '')) return null
  return { family: family as Family, seed: Number(seed), ...(kind === undefined ? {} : { kind }) }
}

function aloneOf({ seed }: Outcome, { family, kind }: FaultName): string {
  const only = kind === undefined ? '' : ` --only '${kind}'`
  return `npm run test:faults -- --one ${family}:${seed}${only}`
}

function machine(): string {
  const [cpu] = cpus()
  return `${cpus().length} cores (${cpu?.model.trim() ?? 'unknown'}), Node ${process.versions.node}, ${process.platform}-${process.arch}`
}

function write(root: string, figures: string): void {
  const path = join(root, 'docs', 'reliability.md')
  writeFileSync(path, withFigures(readFileSync(path, 'utf8'), figures))
  say(`written: docs/reliability.md`, 0)
}

function say(text: string, code: number): number {
  process.stdout.write(`${text}\n`)
  return code
}

const root = process.env.EDGEWISE_ROOT ?? process.cwd()
process.exitCode = await main(root)
