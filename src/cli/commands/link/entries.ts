import { existsSync } from 'node:fs'
import { InputError } from '../../../core/errors.ts'
import type { LinkEntry } from '../../../sim/scenario/schema.ts'
import type { PartOptions } from './source.ts'

const SPLITS: readonly string[] = ['train', 'validation', 'test']

/**
 * The links that `--links a.parquet,b.up+b.down` names, with the constants that stand for what they lack; undefined where
 * it names one of a scenario's lists, or nothing.
 * @throws InputError if constants are declared, but no link of one's own
 */
export function linkEntries(links: string | undefined, parts: PartOptions): LinkEntry[] | undefined {
  const { upMbps, downMbps, rttMs } = parts
  const declared = Object.fromEntries(
    Object.entries({ upMbps, downMbps, rttMs }).filter(([, value]) => value !== undefined),
  )
  const isDeclared = Object.keys(declared).length > 0
  if (links !== undefined && namesFiles(links)) {
    const names = splitLinks(links)
    return isDeclared ? names.map((link) => ({ link, ...declared })) : names
  }
  if (!isDeclared) return undefined
  throw new InputError({
    where: '--up-mbps, --down-mbps, --rtt-ms',
    expected: '--links with recordings that lack these parts',
    found: links === undefined ? 'no --links' : `--links ${links}`,
  })
}

/** `constant:up=10,down=40,rtt=30` has commas of its own. */
const splitLinks = (links: string): string[] => links.split(/,(?!(?:up|down|rtt)=\d+(?:\.\d+)?(?:,|$))/)

/** A word that is no file may be a list of the scenario, misspelt. */
function namesFiles(links: string): boolean {
  if (SPLITS.includes(links)) return false
  return /[.:+,/=]/.test(links) || existsSync(links)
}
