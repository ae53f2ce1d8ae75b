// The Legion's discordgo: gateway heartbeats, REST calls and message echoes, by the contract in legion/CONTRACT.md.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bwmarrin/discordgo"
)

var (
	out     sync.Mutex
	channel = os.Getenv("NETLAT_CHANNEL")
)

type fields map[string]any

func say(kind string, what fields) {
	line, err := json.Marshal(fields{kind: what})
	if err != nil {
		return
	}
	out.Lock()
	defer out.Unlock()
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		// Whoever listened is gone, and so is what this is for.
		os.Exit(0)
	}
}

func fatal(why, problem string) {
	say("fatal", fields{"why": why, "problem": problem})
	os.Exit(1)
}

func ms(span time.Duration) float64 { return float64(span.Nanoseconds()) / 1e6 }

// The library has no address to set but these variables, which its routes are made of.
func point(api string) {
	at := strings.TrimSuffix(api, "/") + "/"
	discordgo.EndpointAPI = at
	discordgo.EndpointGuilds = at + "guilds/"
	discordgo.EndpointChannels = at + "channels/"
	discordgo.EndpointUsers = at + "users/"
	discordgo.EndpointGateway = at + "gateway"
	discordgo.EndpointGatewayBot = discordgo.EndpointGateway + "/bot"
}

// Heartbeats: the library keeps the moments of the last one, tells nobody of them, and calls the difference its latency, which is
// negative while one is on its way.
func heartbeats(session *discordgo.Session) {
	var told time.Time
	for {
		time.Sleep(2 * time.Millisecond)
		session.RLock()
		sent, acknowledged := session.LastHeartbeatSent, session.LastHeartbeatAck
		session.RUnlock()
		// At its start the library takes its own Hello for an acknowledgement.
		if acknowledged.Equal(told) || sent.IsZero() || acknowledged.Before(sent) {
			continue
		}
		told = acknowledged
		own := session.HeartbeatLatency()
		measured := fields{
			"metric": "gateway_heartbeat", "at_ns": sent.UnixNano(), "app_ms": ms(acknowledged.Sub(sent)),
			"own": own.Nanoseconds(), "own_ms": ms(own), "flags": []string{},
		}
		if own < 0 {
			measured["own_ms"] = nil
		}
		say("measured", measured)
	}
}

func flagged(err error) []string {
	var rest *discordgo.RESTError
	if errors.As(err, &rest) && rest.Response != nil {
		return []string{fmt.Sprintf("http-%d", rest.Response.StatusCode)}
	}
	return []string{"timeout"}
}

func rest(session *discordgo.Session, every time.Duration) {
	for {
		begun := time.Now()
		_, err := session.Channel(channel)
		took := time.Since(begun)
		measured := fields{"metric": "rest", "at_ns": begun.UnixNano(), "app_ms": ms(took), "flags": []string{}}
		if err != nil {
			measured["app_ms"], measured["flags"] = nil, flagged(err)
			var refused *discordgo.RESTError
			if errors.As(err, &refused) && refused.Response != nil && (refused.Response.StatusCode == 403 || refused.Response.StatusCode == 404) {
				fatal("channel", fmt.Sprintf("channel %s: %d", channel, refused.Response.StatusCode))
			}
		}
		say("measured", measured)
		time.Sleep(every)
	}
}

type echoes struct {
	sync.Mutex
	heard map[string]time.Time
}

func (e *echoes) keep(id string) {
	now := time.Now()
	e.Lock()
	defer e.Unlock()
	if len(e.heard) > 64 {
		e.heard = map[string]time.Time{}
	}
	e.heard[id] = now
}

func (e *echoes) take(id string) (time.Time, bool) {
	e.Lock()
	defer e.Unlock()
	at, found := e.heard[id]
	delete(e.heard, id)
	return at, found
}

func post(session *discordgo.Session, e *echoes, id, content string) {
	begun := time.Now()
	message, err := session.ChannelMessageSendComplex(channel, &discordgo.MessageSend{
		Content: content, AllowedMentions: &discordgo.MessageAllowedMentions{},
	})
	if err != nil {
		problem := strings.ToValidUTF8(err.Error(), "?")
		if len(problem) > 200 {
			problem = strings.ToValidUTF8(problem[:200], "")
		}
		say("failed", fields{"id": id, "problem": problem})
		return
	}
	say("posted", fields{"id": id})
	for turn := 0; turn < 500; turn++ {
		if ended, found := e.take(message.ID); found {
			say("measured", fields{"metric": "message_echo", "at_ns": begun.UnixNano(), "app_ms": ms(ended.Sub(begun)), "flags": []string{}})
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	say("measured", fields{"metric": "message_echo", "at_ns": begun.UnixNano(), "app_ms": nil, "flags": []string{"timeout"}})
}

func main() {
	say("hello", fields{
		"contract": 1, "library": "discordgo", "version": discordgo.VERSION, "language": "go", "runtime": runtime.Version(),
	})
	if os.Getenv("NETLAT_LEGION_CONTRACT") != "1" {
		fatal("contract", "this bot knows version 1 of the contract only")
	}
	seconds, err := strconv.ParseFloat(os.Getenv("NETLAT_INTERVAL_S"), 64)
	if err != nil {
		fatal("contract", "NETLAT_INTERVAL_S is no number")
	}
	point(os.Getenv("NETLAT_DISCORD_API"))
	session, err := discordgo.New("Bot " + os.Getenv("NETLAT_DISCORD_TOKEN"))
	if err != nil {
		fatal("other", err.Error())
	}
	session.Identify.Intents = discordgo.IntentsGuilds | discordgo.IntentsGuildMessages
	e := &echoes{heard: map[string]time.Time{}}
	stood := make(chan struct{})
	var once sync.Once
	session.AddHandler(func(_ *discordgo.Session, ready *discordgo.Ready) {
		say("ready", fields{"user": ready.User.ID})
		once.Do(func() { close(stood) })
	})
	session.AddHandler(func(s *discordgo.Session, message *discordgo.MessageCreate) {
		if message.ChannelID == channel && message.Author != nil && s.State.User != nil && message.Author.ID == s.State.User.ID {
			e.keep(message.ID)
		}
	})
	// Orders from now on: a supervisor that is gone is noticed while Discord is away, too.
	orders := make(chan [2]string, 16)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(os.Stdin)
		lines.Buffer(make([]byte, 0, 1<<16), 1<<16)
		for lines.Scan() {
			var order struct {
				Post *struct{ ID, Content string }
				Stop *struct{}
			}
			if json.Unmarshal(lines.Bytes(), &order) != nil {
				continue
			}
			if order.Stop != nil {
				return
			}
			if order.Post != nil {
				orders <- [2]string{order.Post.ID, order.Post.Content}
			}
		}
	}()
	go func() {
		// Open gives up at once: the pauses between its attempts are ours, as everywhere.
		for pause := time.Second; ; pause = min(pause*2, time.Minute) {
			err := session.Open()
			if err == nil {
				break
			}
			switch text := err.Error(); {
			case strings.Contains(text, "401") || strings.Contains(text, "4004"):
				fatal("token", "Discord refuses the token: get a new one in the developer portal under Bot, Reset Token")
			case strings.Contains(text, "4013") || strings.Contains(text, "4014"):
				fatal("intents", "Discord refuses this bot's intents")
			default:
				fmt.Fprintln(os.Stderr, text)
			}
			time.Sleep(pause)
		}
		go heartbeats(session)
		<-stood
		go rest(session, time.Duration(seconds*float64(time.Second)))
		for order := range orders {
			post(session, e, order[0], order[1])
		}
	}()
	<-ended
	session.Close()
}
