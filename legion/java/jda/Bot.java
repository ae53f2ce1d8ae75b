// The Legion's JDA: gateway heartbeats, REST calls and message echoes, by the contract in legion/CONTRACT.md.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import net.dv8tion.jda.api.JDA;
import net.dv8tion.jda.api.JDABuilder;
import net.dv8tion.jda.api.JDAInfo;
import net.dv8tion.jda.api.entities.channel.concrete.TextChannel;
import net.dv8tion.jda.api.events.GatewayPingEvent;
import net.dv8tion.jda.api.events.message.MessageReceivedEvent;
import net.dv8tion.jda.api.events.session.ReadyEvent;
import net.dv8tion.jda.api.events.session.SessionResumeEvent;
import net.dv8tion.jda.api.events.session.ShutdownEvent;
import net.dv8tion.jda.api.exceptions.ErrorResponseException;
import net.dv8tion.jda.api.exceptions.InvalidTokenException;
import net.dv8tion.jda.api.hooks.ListenerAdapter;
import net.dv8tion.jda.api.requests.GatewayIntent;
import net.dv8tion.jda.api.requests.RestConfig;
import net.dv8tion.jda.api.requests.Route;
import net.dv8tion.jda.api.utils.ConcurrentSessionController;
import net.dv8tion.jda.api.utils.data.DataObject;
import net.dv8tion.jda.internal.requests.RestActionImpl;

public final class Bot extends ListenerAdapter {
    private static final String CHANNEL = System.getenv("NETLAT_CHANNEL");
    /** Messages whose event came; more are those of others' posts that nobody asked for. */
    private static final int MOST_HEARD = 64;
    /** The contract's lines alone go there. */
    private static final PrintStream OUT = System.out;

    private final Map<Long, Long> heard = new LinkedHashMap<>();
    private final CountDownLatch stood = new CountDownLatch(1);
    private final BlockingQueue<DataObject> posts = new ArrayBlockingQueue<>(16);
    private volatile JDA jda;

    private static synchronized void say(String kind, DataObject fields) {
        OUT.println(DataObject.empty().put(kind, fields));
        OUT.flush();
    }

    private static void fatal(String why, String problem) {
        say("fatal", DataObject.empty().put("why", why).put("problem", problem));
        // Not by exit: threads of the library may hold what its hooks wait for.
        Runtime.getRuntime().halt(1);
    }

    private static long wall() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000_000L + now.getNano();
    }

    private static void measured(String metric, long at, Double appMs, List<String> flags) {
        say("measured", DataObject.empty().put("metric", metric).put("at_ns", at).put("app_ms", appMs).put("flags", flags));
    }

    private static double ms(long nanoseconds) {
        return nanoseconds / 1e6;
    }

    @Override
    public void onReady(ReadyEvent event) {
        ready(event.getJDA());
    }

    @Override
    public void onSessionResume(SessionResumeEvent event) {
        ready(event.getJDA());
    }

    private void ready(JDA jda) {
        say("ready", DataObject.empty().put("user", jda.getSelfUser().getId()));
        stood.countDown();
    }

    /** The library tells its own figure, in whole milliseconds, and lets nobody see when a heartbeat is sent or acknowledged. */
    @Override
    public void onGatewayPing(GatewayPingEvent event) {
        long own = event.getNewPing();
        say("measured", DataObject.empty()
                .put("metric", "gateway_heartbeat")
                .put("at_ns", wall() - Math.max(own, 0) * 1_000_000L)
                .put("app_ms", null)
                .put("own", own)
                .put("own_ms", own >= 0 ? own : null)
                .put("flags", List.of()));
    }

    @Override
    public void onMessageReceived(MessageReceivedEvent event) {
        long now = System.nanoTime();
        if (!event.getChannel().getId().equals(CHANNEL) || event.getAuthor().getIdLong() != event.getJDA().getSelfUser().getIdLong()) {
            return;
        }
        synchronized (heard) {
            heard.put(event.getMessageIdLong(), now);
            if (heard.size() > MOST_HEARD) {
                heard.remove(heard.keySet().iterator().next());
            }
            heard.notifyAll();
        }
    }

    @Override
    public void onShutdown(ShutdownEvent event) {
        switch (event.getCode()) {
            case 4004 -> fatal("token", "Discord's gateway refuses the token (4004)");
            case 4013, 4014 -> fatal("intents", "Discord's gateway refuses the intents (" + event.getCode() + ")");
            default -> { }
        }
    }

    private void rest(JDA jda, long everyMs) throws InterruptedException {
        Route.CompiledRoute route = Route.Channels.GET_CHANNEL.compile(CHANNEL);
        for (;;) {
            long at = wall();
            long begun = System.nanoTime();
            try {
                new RestActionImpl<DataObject>(jda, route, (response, request) -> response.getObject()).complete();
                measured("rest", at, ms(System.nanoTime() - begun), List.of());
            } catch (ErrorResponseException error) {
                int status = error.getResponse() == null ? 0 : error.getResponse().code;
                if (status == 403 || status == 404) {
                    fatal("channel", "channel " + CHANNEL + ": " + status + " " + error.getMeaning());
                }
                measured("rest", at, null, List.of(status > 0 ? "http-" + status : "timeout"));
            } catch (RuntimeException error) {
                measured("rest", at, null, List.of("timeout"));
            }
            Thread.sleep(everyMs);
        }
    }

    private void post(JDA jda, DataObject order) throws InterruptedException {
        String id = order.getString("id");
        long at = wall();
        long begun = System.nanoTime();
        long message;
        try {
            TextChannel channel = jda.getTextChannelById(CHANNEL);
            if (channel == null) {
                throw new IllegalStateException("the channel is not known");
            }
            message = channel.sendMessage(order.getString("content")).setAllowedMentions(List.of()).complete().getIdLong();
        } catch (RuntimeException error) {
            String problem = String.valueOf(error.getMessage());
            say("failed", DataObject.empty().put("id", id).put("problem", problem.substring(0, Math.min(200, problem.length()))));
            return;
        }
        say("posted", DataObject.empty().put("id", id));
        Long ended;
        synchronized (heard) {
            long until = System.nanoTime() + 10_000_000_000L;
            while ((ended = heard.remove(message)) == null && System.nanoTime() < until) {
                heard.wait(100);
            }
        }
        measured("message_echo", at, ended == null ? null : ms(ended - begun), ended == null ? List.of("timeout") : List.of());
    }

    /** Ends when told to, or with the supervisor: also while Discord is away. */
    private void orders() throws IOException, InterruptedException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null; ) {
            DataObject order = DataObject.fromJson(line);
            if (order.hasKey("stop")) {
                return;
            }
            if (order.hasKey("post")) {
                posts.put(order.getObject("post"));
            }
        }
    }

    private void leave() {
        if (jda == null) {
            return;
        }
        jda.shutdownNow();
        try {
            jda.awaitShutdown(Duration.ofSeconds(3));
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
        }
    }

    /** The JVM has a trust store of its own; the authorities that other programs are told of by SSL_CERT_FILE become one. */
    private static void trust() throws IOException, GeneralSecurityException {
        String file = System.getenv("SSL_CERT_FILE");
        if (file == null) {
            return;
        }
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        List<Certificate> authorities = new ArrayList<>();
        try (InputStream pem = Files.newInputStream(Path.of(file))) {
            authorities.addAll(CertificateFactory.getInstance("X.509").generateCertificates(pem));
        }
        for (int index = 0; index < authorities.size(); index++) {
            store.setCertificateEntry("authority-" + index, authorities.get(index));
        }
        Path made = Files.createTempFile("netlat-trust", ".p12");
        made.toFile().deleteOnExit();
        try (OutputStream out = Files.newOutputStream(made)) {
            store.store(out, "changeit".toCharArray());
        }
        System.setProperty("javax.net.ssl.trustStore", made.toString());
        System.setProperty("javax.net.ssl.trustStorePassword", "changeit");
    }

    public static void main(String[] arguments) throws Exception {
        // Whatever a library prints is none of the contract's.
        System.setOut(System.err);
        String version = JDAInfo.VERSION_MAJOR + "." + JDAInfo.VERSION_MINOR + "." + JDAInfo.VERSION_REVISION;
        say("hello", DataObject.empty().put("contract", 1).put("library", "JDA").put("version", version)
                .put("language", "java").put("runtime", "Java " + System.getProperty("java.version")));
        if (!"1".equals(System.getenv("NETLAT_LEGION_CONTRACT"))) {
            fatal("contract", "this bot knows version 1 of the contract only");
        }
        trust();
        Bot bot = new Bot();
        Thread listening = new Thread(() -> {
            try {
                bot.orders();
            } catch (Exception error) {
                System.err.println(error.getMessage());
            }
            bot.leave();
            Runtime.getRuntime().halt(0);
        }, "orders");
        listening.setDaemon(true);
        listening.start();
        JDABuilder builder = JDABuilder.createLight(System.getenv("NETLAT_DISCORD_TOKEN"), GatewayIntent.GUILD_MESSAGES)
                .setRestConfig(new RestConfig().setBaseUrl(System.getenv("NETLAT_DISCORD_API") + "/"))
                .setSessionController(new ConcurrentSessionController() {
                    @Override
                    public String getGateway() {
                        return System.getenv("NETLAT_DISCORD_GATEWAY");
                    }
                })
                .addEventListeners(bot);
        JDA jda;
        try {
            jda = builder.build();
            bot.jda = jda;
        } catch (InvalidTokenException error) {
            fatal("token", "Discord refuses the token: get a new one in the developer portal under Bot, Reset Token");
            return;
        }
        bot.stood.await();
        long everyMs = Math.round(Double.parseDouble(System.getenv("NETLAT_INTERVAL_S")) * 1000);
        Thread resting = new Thread(() -> {
            try {
                bot.rest(jda, everyMs);
            } catch (InterruptedException error) {
                Thread.currentThread().interrupt();
            }
        }, "rest");
        resting.setDaemon(true);
        resting.start();
        for (;;) {
            bot.post(jda, bot.posts.take());
        }
    }
}
