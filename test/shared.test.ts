import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { sharedObstacle } from './shared.ts'

const folder = mkdtempSync(join(tmpdir(), 'edgewise-shared-'))
afterAll(() => rmSync(folder, { recursive: true }))

describe('what needs ../shared', () => {
  it('is skipped with a reason where a path is absent, and not where all are here', () => {
    writeFileSync(join(folder, 'here'), '')
    expect(sharedObstacle(['here'], folder)).toBeNull()
    expect(sharedObstacle(['here', 'weights/x.bin'], folder)).toBe('../shared/weights/x.bin is absent')
    expect(sharedObstacle(['here'], null)).toBe('EDGEWISE_SHARED=none')
  })

  it('goes through test/shared.ts: no other test names the folder', () => {
    const files = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' }).filter(
      (file) => file.endsWith('.ts') && !/^shared(\.test)?\.ts$/.test(file),
    )
    expect(files.length).toBeGreaterThan(100)
    const naming = files.filter((file) =>
      /['"`](\.\.\/)+shared(?!\.ts)/.test(readFileSync(join(import.meta.dirname, file), 'utf8')),
    )
    expect(naming).toEqual([])
  })
})
