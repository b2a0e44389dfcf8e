import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, it } from 'vitest'

/**
 * Recordings and weights whose licences keep them out of this repository. They lie beside the clone, in `../shared`, or where
 * EDGEWISE_SHARED says. `EDGEWISE_SHARED=none` runs the tests as on a machine that has none of them.
 */
const chosen = process.env.EDGEWISE_SHARED
const SHARED_FOLDER = chosen === 'none' ? null : resolve(import.meta.dirname, '..', chosen ?? '../shared')

/** Path of a file or folder of the shared folder; a path that does not exist where there is no such folder. */
export const sharedPath = (name: string): string => join(SHARED_FOLDER ?? '/absent/shared', name)

/** Why what needs these paths is skipped, or null where all of them are here. */
export function sharedObstacle(
  names: readonly string[],
  folder: string | null = SHARED_FOLDER,
): string | null {
  if (folder === null) return 'EDGEWISE_SHARED=none'
  const missing = names.filter((name) => !existsSync(join(folder, name)))
  return missing.length === 0 ? null : `../shared/${missing.join(', ../shared/')} is absent`
}

/**
 * A suite that needs these paths of the shared folder. Where one is absent the body is not even collected, so that it may open
 * them outside its tests; one skipped test says why.
 */
export function describeShared(title: string, names: readonly string[], body: () => void): void {
  const obstacle = sharedObstacle(names)
  if (obstacle === null) describe(title, body)
  else describe(title, () => it.skip(`skipped: ${obstacle}`, () => undefined))
}

/** A test that needs these paths of the shared folder. */
export function itShared(title: string, names: readonly string[], body: () => void | Promise<void>): void {
  const obstacle = sharedObstacle(names)
  if (obstacle === null) it(title, body)
  else it.skip(`${title} (skipped: ${obstacle})`, body)
}
