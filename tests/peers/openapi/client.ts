// A client of the demo, as its document describes it: what is wrong here must not compile, and what
// compiles must work. Prints what it saw as one line of JSON.
//   node client.js API_URL
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

type Game = components["schemas"]["gamehub.v1.Game"];
type Score = components["schemas"]["gamehub.v1.Score"];

const client = createClient<paths>({ baseUrl: process.argv[2] ?? "" });

const one = await client.GET("/v1/games/{game_id}", { params: { path: { game_id: "1" } } });
const game: Game | undefined = one.data;

const list = await client.GET("/v1/games", {
  params: { query: { tags: ["water", "singleplayer"], minRating: 4, "page.size": 2, genre: "GENRE_PUZZLE" } },
});

const made = await client.POST("/v1/games", {
  params: { query: { validateOnly: true } },
  body: { title: "Glass Garden", genre: "GENRE_PUZZLE", tags: ["garden"], typicalSession: "600s", playersMax: 2 },
});

const rated = await client.PUT("/v1/games/{game_id}/ratings/{player}", {
  params: { path: { game_id: "3", player: "typescript" } },
  body: 5,
});

const missing = await client.GET("/v1/games/{game_id}", { params: { path: { game_id: "404" } } });
const reason: unknown = missing.error?.details?.[0]?.["reason"];

const scores = await client.GET("/v1/games/{game_id}/scores:watch", {
  params: { path: { game_id: "6" }, query: { count: 3, interval: "0s" } },
});
const watched: Score[] = Array.isArray(scores.data) ? scores.data : [];

const lines = await client.GET("/v1/games/{game_id}/scores:watch", {
  params: { path: { game_id: "6" }, query: { count: 2, interval: "0s" } },
  headers: { accept: "application/x-ndjson" },
  parseAs: "text",
});

const looked = await client.GET("/v1/studios/{studio}/games/{game}", {
  params: { path: { studio: "paperfox", game: "puzzle" } },
});

const played = await client.POST("/v1/games/{game_id}/plays", {
  params: { path: { game_id: "7" } },
  body: [{ levelStarted: { level: 1 } }, { at: "42s", levelFinished: { level: 1, points: "900" } }],
});

const picture = await client.GET("/v1/games/{game_id}/thumbnail", {
  params: { path: { game_id: "9" } },
  parseAs: "arrayBuffer",
});

// @ts-expect-error: 64-bit numbers are strings.
const wrong_id: Game = { id: 1 };
// @ts-expect-error: no such value.
const wrong_genre: Game = { genre: "GENRE_OPERA" };
// @ts-expect-error: no such field.
const wrong_field: Game = { titel: "Tidal" };
export const unsent = () => [
  // @ts-expect-error: no such path.
  client.GET("/v1/game"),
  // @ts-expect-error: the path has a variable.
  client.GET("/v1/games/{game_id}"),
  // @ts-expect-error: a number.
  client.GET("/v1/games", { params: { query: { minRating: "four" } } }),
  // @ts-expect-error: this path has no such method.
  client.DELETE("/v1/tags"),
  [wrong_id, wrong_genre, wrong_field],
];

console.log(JSON.stringify({
  title: game?.title,
  games: list.data?.games?.length,
  made: made.data?.title,
  rated: typeof rated.data?.mean,
  missing: [missing.response.status, missing.error?.code, reason],
  watched: watched.map((score) => score.sequence),
  lines: typeof lines.data === "string" ? lines.data.trim().split("\n").length : null,
  looked: looked.response.status,
  played: played.data?.points,
  picture: picture.data instanceof ArrayBuffer && picture.data.byteLength > 0,
}));
