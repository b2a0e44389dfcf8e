import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { PUBLIC_ENTRIES } from './rooms.ts'

const root = resolve(import.meta.dirname, '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')
const isBuilt = existsSync(join(root, 'dist', 'api'))

/** What each example must print: enough to know that it did its work. */
const EXPECTED: Readonly<Record<string, RegExp>> = {
  plan: /units in the cloud, by layer:( \d+){32}\ncost: \d/,
  sim: /edge-only: mean cost of 20 requests \d[^]*drift-plus-penalty: mean cost/,
  envs: /^20 decisions, \d+ numbers observed/,
  learn: /^2 updates, 4096 decisions[^]*edge-only on the first validation episode: cost \d/,
  edge: /good link: [^]*poor link: [^]*outage: .*standalone/,
  serve: /^32 tokens by the plan cut:3: [^]*the same: true/,
  trace: /at 0 s, [^]*100 kB leave in \d/,
}

/** Names of values that a public entry exports. */
function exportsOf(path: string): string[] {
  const source = ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest)
  return source.statements.flatMap((node) => {
    if (ts.isExportDeclaration(node) && node.exportClause !== undefined && !node.isTypeOnly) {
      const names = node.exportClause as ts.NamedExports
      return names.elements.filter((name) => !name.isTypeOnly).map((name) => name.name.text)
    }
    const isExported =
      ts.canHaveModifiers(node) &&
      ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true
    return isExported && ts.isFunctionDeclaration(node) && node.name !== undefined ? [node.name.text] : []
  })
}

describe('examples', () => {
  it('are one for each public entry, and import it by its public name', () => {
    expect(readdirSync(join(root, 'examples')).sort()).toEqual(
      Object.keys(PUBLIC_ENTRIES)
        .map((name) => `${name}.mjs`)
        .sort(),
    )
    for (const name of Object.keys(PUBLIC_ENTRIES)) {
      const text = read(`examples/${name}.mjs`)
      expect(text).toContain(`from 'edgewise/${name}'`)
      const specifiers = [...text.matchAll(/from '([^']+)'/g)].map(([, specifier]) => specifier)
      expect(specifiers.filter((one) => !/^(node:|edgewise\/)/.test(one))).toEqual([])
    }
  })

  it.skipIf(!isBuilt).each(Object.keys(PUBLIC_ENTRIES))(
    '%s does what it says (skipped where dist is not built)',
    async (name) => {
      const { stdout } = await promisify(execFile)(
        process.execPath,
        [join(root, 'examples', `${name}.mjs`)],
        {
          cwd: dirname(root),
        },
      )
      expect(stdout).toMatch(EXPECTED[name])
    },
  )
})

describe('docs/library.md', () => {
  const page = read('docs/library.md')

  it.each(Object.entries(PUBLIC_ENTRIES))(
    'names what edgewise/%s exports, and nothing else',
    (name, path) => {
      const section = page.split(`\n## edgewise/${name}\n`)[1]?.split('\n## ')[0] ?? ''
      const table = section.split('\n').filter((line) => line.startsWith('|'))
      const named = table.flatMap((line) => [...line.matchAll(/`([A-Za-z_]+)`/g)].map(([, word]) => word))
      expect([...new Set(named)].sort()).toEqual([...new Set(exportsOf(path))].sort())
    },
  )
})
